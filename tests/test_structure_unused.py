"""Whatever `engine/` and `install/` define is used by the product itself: what only a test reads is removed, or was forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOMS = ("engine", "install", "recipes", "benchmarks")
OTHERS = {
    "find_class": "pickle calls it",
    "persistent_load": "pickle calls it",
    "redirect_request": "urllib calls it",
    "_fields_": "ctypes reads it",
    "SOURCES": "the options that are no settings; the test of the option table counts with them",
    "sample_at": "where a run starts that resumes (docs/roadmap.md); tests hold every such start to the same batches",
}
OPTIONS = frozenset({"setting", "option", "field"})  # make fields that are read from a table, by their names


def trees(root: Path, rooms: Iterable[str]) -> dict[str, ast.Module]:
    paths = sorted(path for room in rooms for path in (root / room).rglob("*.py"))
    return {path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def read(found: Iterable[ast.AST]) -> set[str]:
    """Every name that is read, as a name or as an attribute of anything. Importing a name is no reading, nor is storing into it."""
    nodes = [node for tree in found for node in ast.walk(tree)]
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


def defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Functions, classes and constants of a module; methods and fields of its classes, but for those that a table of options reads."""
    for node in tree.body:
        yield from _bound(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                yield from _bound(part)


def _bound(node: ast.stmt) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.lineno, node.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        if not (isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") in OPTIONS):
            yield node.lineno, node.target.id
    elif isinstance(node, ast.Assign):
        yield from ((node.lineno, target.id) for target in node.targets if isinstance(target, ast.Name))


def unused(made: dict[str, ast.Module], readers: Iterable[ast.AST]) -> list[str]:
    names = read(readers)
    return [
        f"{where}:{line}: {name}"
        for where, tree in made.items()
        for line, name in defined(tree)
        if name not in names and name not in OTHERS and not name.startswith("__")
    ]


def test_everything_is_used_by_the_product(root: Path) -> None:
    everything = trees(root, ROOMS)
    made = {where: tree for where, tree in everything.items() if where.startswith(("engine/", "install/"))}
    found = unused(made, everything.values())
    assert not found, "only tests use these, or nobody:\n" + "\n".join(found)


def test_what_is_excepted_is_there(root: Path) -> None:
    everything = trees(root, ROOMS)
    there = {name for tree in everything.values() for _, name in defined(tree)}
    assert OTHERS.keys() <= there - read(everything.values())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def f(): pass", ["f"]),
        ("def f(): pass\nf()", []),
        ("LIMIT = 3\nLIMIT: int = 3", ["LIMIT", "LIMIT"]),
        ("class A:\n    x: int\n    y: int = 0\n    def m(self): return self.x\nA().m()", ["y"]),
        ("class A:\n    x: int = setting(0, 'help')\nA", []),
        ("class A:\n    def __len__(self): return 0\nA", []),
        ("class A:\n    x: int\ndef g(a): a.x = 1\nA, g", ["x"]),
        ("from m import f\ndef f(): pass", ["f"]),
    ],
)
def test_such_a_definition_is_found(text: str, names: list[str]) -> None:
    tree = ast.parse(text)
    assert [line.rpartition(" ")[2] for line in unused({"m.py": tree}, [tree])] == names
