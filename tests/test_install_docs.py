"""docs/windows.md explains every message that Install.cmd can end with, and Python's path file names what is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from engine import doctor, downloads
from install import __main__ as install
from install import packages


def pieces(text: str) -> list[str]:
    """The parts of a message that are the same every time, if they are long enough to be told."""
    parts = (part.strip(" `") for part in re.split(r"%\w+%|\{\}|[.,:;()`]+ ?", text))
    return [part for part in parts if len(part) >= 10]


def messages_of(module: Path, function: str = "") -> Iterator[str]:
    """What the UserErrors of a module, or of one function, say, values as {}: the first argument, or what `message` was set to last."""
    tree: ast.AST = ast.parse(module.read_text(encoding="utf-8"))
    if function:
        (tree,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    message: ast.expr | None = None
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.Call)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            message = node.value if isinstance(target, ast.Name) and target.id == "message" else message
        elif isinstance(node.func, ast.Name) and node.func.id == "UserError":
            said = message if isinstance(node.args[0], ast.Name) else node.args[0]
            values = said.values if isinstance(said, ast.JoinedStr) else [said]
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in values)


# Messages without words of their own: of one word, pip's (its reasons are walked too), and another message with what was done about it.
WORDLESS = {"stopped", "{} ({})", "{}; it was removed"}


def test_every_last_message_is_explained(root: Path) -> None:
    text = (root / "docs/windows.md").read_text(encoding="utf-8").partition("## What Install.cmd can end with")[2].partition("\n## ")[0]
    batch = re.findall(r'set "message=(.+)"', (root / "Install.cmd").read_text(encoding="ascii"))
    modules = [*(root / "install").glob("*.py"), *(root / f"engine/{name}.py" for name in ("fetch", "downloads", "locks"))]
    python = [message for module in modules for message in messages_of(module)]
    written = list(messages_of(root / "engine/files.py", "_write_error"))
    reasons = [reason.meaning for reason in packages._REASONS]
    assert len(batch) >= 10 and len(python) >= 20 and len(written) >= 3 and len(reasons) >= 8
    said = {message: pieces(message) for message in (*batch, *python, *written, *reasons)}
    assert {message for message in said if message in WORDLESS} == WORDLESS and "| stopped |" in text
    assert [message for message, parts in said.items() if message not in WORDLESS and not any(part in text for part in parts)] == []


def test_the_settings_of_install_cmd_are_explained(root: Path) -> None:
    head = (root / "Install.cmd").read_text(encoding="ascii").partition('set "status')[0]
    names = re.findall(r'^set "(\w+)=', head, re.MULTILINE)
    text = (root / "docs/windows.md").read_text(encoding="utf-8")
    assert names == ["torch_build", "proxy", "pip_mirror", "torch_mirror", "python_mirror"]
    assert [name for name in names if f"| `{name}` |" not in text or not re.search(rf"^rem {name} ", head, re.MULTILINE)] == []


def test_the_figures_are_those_of_the_code(root: Path) -> None:
    text = (root / "docs/windows.md").read_text(encoding="utf-8")
    said = (f"may have {doctor.LONGEST_PATH} characters at most", f"{install.NEEDED >> 30} GB must be free")
    drivers = (f"driver of {doctor.CUDA_13_DRIVER} or newer", f"from {doctor.CUDA_12_DRIVER} on")
    assert [figure for figure in (*said, *drivers) if figure not in text] == []


def test_python_finds_what_it_needs(root: Path) -> None:
    lines = (root / "python_310/python310._pth").read_text(encoding="ascii").splitlines()
    assert lines[:4] == ["python310.zip", "Lib", "DLLs", "."] and "import site" in lines and ".." in lines
    assert f"..\\install\\{downloads.read(root)['pip'].file}" in lines
    assert not [line for line in lines if re.match(r"[A-Za-z]:|[\\/]", line)], "relative lines only"


NAMED_ONLY = {"127.0.0.1", "git-lfs", "github.com"}  # an example, the mark of a pointer file, and a name that model files carry


def test_what_may_be_downloaded_stands_in_the_table(root: Path) -> None:
    """No address in the code, and no row without a hash or somebody who publishes one."""
    table = downloads.read(root)
    unchecked = [row.name for row in table.values() if not re.fullmatch("[0-9a-f]{64}", row.sha256)]
    assert unchecked == ["hub"]  # whose own lists have the hash of each file
    assert [row.name for row in table.values() if row.index] == ["torch-cu130", "torch-cu126"]
    code = [path for folder in ("engine", "install", "recipes", "scripts") for path in (root / folder).rglob("*")]
    hosts = {
        host
        for path in [root / "Install.cmd", *code]
        if path.suffix in (".py", ".ps1", ".cmd", ".sh")
        for host in re.findall(r"https?://(\w[\w.-]*)", path.read_text(encoding="utf-8"))
    }
    assert hosts <= NAMED_ONLY, hosts - NAMED_ONLY
