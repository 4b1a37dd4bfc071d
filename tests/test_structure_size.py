"""One screen per idea: files and functions stay short enough to be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 450, 100


def sources(root: Path) -> list[Path]:
    return sorted(path for folder in ("engine", "install", "recipes", "benchmarks") for path in (root / folder).rglob("*.py"))


def test_files_are_short(root: Path) -> None:
    lengths = {path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(root)}
    long = {name: lines for name, lines in lengths.items() if lines > FILE_LINES}
    assert not long, f"over {FILE_LINES} lines, split by subject: {long}"


def test_functions_are_short(root: Path) -> None:
    long = []
    for path in sources(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{path.relative_to(root).as_posix()}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)
