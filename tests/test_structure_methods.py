"""Nothing outside `engine/adapters/` asks which method it has: no name of one stands in a comparison, a `match` case or a look-up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import adapters
from engine.errors import names

NAMES = frozenset(name.lower() for row in adapters.METHODS for name in names(row))
OTHERS = {"engine/config/stray.py"}  # there `lora` is an option of the command `sample`
LOOK_UPS = frozenset({"row", "find_row", "row_named", "startswith", "endswith", "get"})


def asked(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name, wherever the code asks for a method by a name that stands in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            found = [node.value]
        elif isinstance(node, ast.Subscript):
            found = [node.slice]
        elif isinstance(node, ast.Call) and (getattr(node.func, "attr", "") or getattr(node.func, "id", "")) in LOOK_UPS:
            found = list(node.args)
        else:
            continue
        for part in found:
            for constant in ast.walk(part):
                if isinstance(constant, ast.Constant) and str(constant.value).lower() in NAMES:
                    yield node.lineno, str(constant.value)


def test_no_code_asks_which_method_it_has(root: Path) -> None:
    found = []
    for path in sorted((root / "engine").rglob("*.py")):
        where = path.relative_to(root).as_posix()
        if "adapters" not in path.parts and where not in OTHERS:
            found += [f"{where}:{line}: {name}" for line, name in asked(ast.parse(path.read_text(encoding="utf-8")))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('if name == "lora": pass', True),
        ('if "networks.lora" != name: pass', True),
        ('if name in ("LoRA", "other"): pass', True),
        ('match name:\n    case "lora": pass', True),
        ('match name:\n    case "x" | "lora": pass', True),
        ('adapters.row("lora")', True),
        ('find_row(METHODS, "networks.lora", "method", "x")', True),
        ('ROWS["lora"]', True),
        ('name.startswith("lora")', True),
        ('say("lora")', False),
        ('module: str = "lora"', False),
        ('if name == "lora_unet_": pass', False),
    ],
)
def test_such_a_question_is_found(text: str, found: bool) -> None:
    assert bool(list(asked(ast.parse(text)))) is found
