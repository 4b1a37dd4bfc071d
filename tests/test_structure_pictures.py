"""Every place that opens a picture names the formats it may be of: Pillow otherwise tries all it knows, some by starting a program."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("engine", "install", "recipes", "benchmarks", "scripts")


def opens(tree: ast.AST) -> Iterator[int]:
    """Lines where Pillow is given a file without `formats`, or where its `open` or `Parser` is handed on."""
    openers: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "PIL":
            openers |= {f"{alias.asname or alias.name}.{_OPENER[alias.name]}" for alias in node.names if alias.name in _OPENER}
        elif isinstance(node, ast.ImportFrom) and node.module in ("PIL.Image", "PIL.ImageFile"):
            if any(alias.name in ("open", "Parser", "*") for alias in node.names):
                yield node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, module = alias.name.partition(".")
                if package == "PIL" and module in _OPENER:
                    openers.add(f"{alias.asname or alias.name}.{_OPENER[module]}")
    named = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _names_formats(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in openers and id(node) not in named:
            yield node.lineno


_OPENER = {"Image": "open", "ImageFile": "Parser"}


def _names_formats(call: ast.Call) -> bool:
    """Whether the call has `formats=` with something that is not None."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "formats"]
    return bool(given) and not (isinstance(given[0], ast.Constant) and given[0].value is None)


def test_every_picture_is_opened_with_its_formats_named(root: Path) -> None:
    files = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    found = [
        f"{path.relative_to(root).as_posix()}:{line}: name the formats that this picture may have (formats=...)"
        for path in files
        for line in opens(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert files and not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "fails"),
    [
        ("from PIL import Image\nImage.open(x)", True),
        ("from PIL import Image\nImage.open(x, 'r')", True),
        ("from PIL import Image\nImage.open(x, formats=None)", True),
        ("from PIL import Image\nImage.open(x, **options)", True),
        ("from PIL import Image\nlist(map(Image.open, paths))", True),
        ("def f():\n    from PIL import Image as I\n    return I.open(x)", True),
        ("import PIL.Image\nPIL.Image.open(x)", True),
        ("import PIL.Image as I\nI.open(x)", True),
        ("from PIL.Image import open", True),
        ("from PIL import ImageFile\nImageFile.Parser()", True),
        ("from PIL import Image\nImage.open(x, formats=('PNG',))", False),
        ("from PIL import Image\nImage.new('RGB', (1, 1)).save(x)", False),
        ("import webbrowser as Image\nImage.open(x)", False),
    ],
)
def test_the_rule_finds_what_it_should(code: str, fails: bool) -> None:
    assert bool(list(opens(ast.parse(code)))) == fails
