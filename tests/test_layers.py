"""The table of levels in docs/architecture.md, held against the syntax trees of engine/: nothing imports upward or sideways.

Every import counts, also those inside functions and for type checking only.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parent.parent / "engine"

LEVELS: tuple[frozenset[str], ...] = (
    frozenset(
        {"errors", "files", "doctor", "environment", "awake", "locks", "pickled", "fetch", "downloads", "adapterfiles"}
        | {"tensorfile", "seeds", "device", "allocation", "console"}
        | {"headers", "memo", "pixels", "vram"}
    ),
    frozenset({"config", "data", "models", "adapters", "diffusion", "optimization"}),
    frozenset({"generation", "tools", "registries"}),
    frozenset({"training"}),
    frozenset({"commands"}),
    frozenset({"__main__"}),
)
STANDARD_LIBRARY_ONLY = frozenset(
    {"errors", "files", "doctor", "environment", "awake", "locks", "pickled", "headers", "memo", "pixels", "adapterfiles", "vram"}
)
RUNNERS = frozenset({"run_module", "run_path", "spec_from_file_location", "resolve_name"})
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}


def room_of(module: str) -> str:
    """`engine.data.cache` -> `data`; `engine` itself -> ``."""
    return module.split(".")[1] if "." in module else ""


def module_of(path: Path, top: Path = ENGINE) -> str:
    """The dotted name of a file of the package at `top`."""
    parts = path.relative_to(top.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, package: bool) -> Iterator[tuple[str, int]]:
    """Every (dotted module, line) that the tree imports; `from engine import files` gives `engine.files`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + (1 if package else 0)]
                base = ".".join([*kept, base] if base else kept)
            if base == "engine":
                for alias in node.names:
                    yield ("engine" if alias.name.startswith("__version") else f"engine.{alias.name}"), node.lineno
            else:
                yield base, node.lineno


def breaches(path: Path, top: Path = ENGINE) -> Iterator[str]:
    """What in this file the table forbids, as `file:line: sentence`."""
    module = module_of(path, top)
    room = room_of(module)
    where = path.relative_to(top.parent).as_posix()
    if room and room not in LEVEL:
        yield f"{where}: the table of levels does not name `{room}`"
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for imported, line in imports(tree, module, path.name == "__init__.py"):
        head = imported.partition(".")[0]
        if head != "engine":
            if room in STANDARD_LIBRARY_ONLY and head not in sys.stdlib_module_names:
                yield f"{where}:{line}: `{room}` uses the standard library only, not `{head}`"
            continue
        target = room_of(imported)
        if not target or target == room:
            continue
        if not room:
            yield f"{where}:{line}: the package itself imports nothing, not `{imported}`"
        elif target not in LEVEL:
            yield f"{where}:{line}: the table of levels does not name `{target}`"
        elif LEVEL[target] > LEVEL[room]:
            yield f"{where}:{line}: `{room}` imports upward, `{imported}`"
        elif LEVEL[target] == LEVEL[room] != 0:
            yield f"{where}:{line}: `{room}` imports its neighbour `{imported}`"
    if room != "__main__":
        yield from dynamic_imports(tree, where)


def dynamic_imports(tree: ast.AST, where: str) -> Iterator[str]:
    """Imports that the tree hides: code run from text, and engine modules named in strings, as a table for `import_module` would."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"engine(\.\w+)+(:\w+)?", node.value):
            yield f"{where}:{node.lineno}: names the module `{node.value}` in a string; only __main__ may import by name"
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            relative = name == "import_module" and (len(node.args) > 1 or node.keywords)
            built = name in {"import_module", "__import__"} and bool(node.args) and isinstance(node.args[0], ast.JoinedStr | ast.BinOp)
            if name in RUNNERS or relative or built or (isinstance(node.func, ast.Name) and name in {"exec", "eval"}):
                yield f"{where}:{node.lineno}: `{name}` imports what this test cannot see; only __main__ may"


def test_nothing_imports_upward_or_sideways() -> None:
    found = [line for path in sorted(ENGINE.rglob("*.py")) for line in breaches(path)]
    assert not found, "\n".join(found)


def test_the_document_has_the_same_table() -> None:
    text = (ENGINE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    lines = text.partition("## Levels")[2].partition("```\n")[2].partition("```")[0].splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith("level ")] + [len(lines)]
    told = [frozenset(word for line in lines[begin:end] for word in re.split(r" {4}", line[10:])[0].split())
            for begin, end in zip(begins, begins[1:], strict=False)]  # fmt: skip
    assert told[::-1] == list(LEVELS)


def test_level_0_has_no_cycle() -> None:
    waits_for = {
        room: {room_of(name) for name, _ in imports(ast.parse((ENGINE / f"{room}.py").read_text(encoding="utf-8")), f"engine.{room}", False)
               if name.startswith("engine.")} - {room}
        for room in LEVELS[0]
    }  # fmt: skip
    while ready := {room for room, needs in waits_for.items() if not needs & waits_for.keys()}:
        for room in ready:
            del waits_for[room]
    assert not waits_for, f"these import each other: {waits_for}"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("data/x.py", "from engine.models import family", "imports its neighbour `engine.models`"),
        ("data/x.py", "def f():\n    import engine.training.loop", "imports upward"),
        ("data/x.py", "from ..training import loop", "imports upward"),
        ("data/x.py", "from engine import tools", "imports upward"),
        ("data/x.py", "from . import cache\nfrom engine.files import sha256\nimport torch", ""),
        ("files.py", "import numpy", "standard library only"),
        ("newroom/x.py", "", "does not name `newroom`"),
        ("data/x.py", "from engine import newroom", "does not name `newroom`"),
        ("data/x.py", "import importlib\nimportlib.import_module(f'engine.{room}')", "cannot see"),
        ("data/x.py", "import importlib\nimportlib.import_module('.models', 'engine')", "cannot see"),
        ("data/x.py", "ROWS = ('engine.models.sd:Family',)", "names the module `engine.models.sd:Family` in a string"),
        ("data/x.py", "__import__('engine.models')", "in a string"),
        ("data/x.py", "exec(text)", "cannot see"),
        ("data/x.py", "import importlib\nimportlib.import_module('xformers.ops')\nmodel.eval()", ""),
        ("data/x.py", "import importlib\nimportlib.import_module(row.target)", ""),
        ("__main__.py", "import importlib\nimportlib.import_module('engine.training')", ""),
    ],
)
def test_a_breach_is_found(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / "engine" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    found = list(breaches(path, tmp_path / "engine"))
    assert (said in found[0]) if said else not found, found
