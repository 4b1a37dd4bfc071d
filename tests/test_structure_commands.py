"""Commands are written in one way: as on Linux in every document, as on Windows in docs/windows.md, and as `python -m engine` in the code.

The README's section *Commands* says so, once. The code's way is shown as it is typed where the engine runs (engine/environment.py).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LINUX, WINDOWS = ".venv/bin/python", r"python_310\python.exe"
CODE = ("python", "$python -s -X utf8")  # what messages write, and what hand_over.ps1 calls
HISTORY = ("CHANGELOG.md",)  # says what was
PLAIN = r"(?:[^\s`'\"()]*python[\w.]*|py)"
CALL = re.compile(rf"({PLAIN}(?: -(?:[suIE]+|X \w+))*) -m (engine|recipes|benchmarks|tensorboard|pip)\b(?:\.\w+)*(?: ([\w-]+))?")


def written(text: str) -> list[tuple[str, str, str]]:
    """Every (Python with its options, module, first word) that a text tells to type."""
    return [(call[1], call[2], call[3] or "") for call in CALL.finditer(text)]


def files(root: Path, *patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z", *patterns], cwd=root, capture_output=True, check=False)
    return [root / name for name in listed.stdout.decode("utf-8").split("\0") if name and (root / name).is_file()]


def documents(root: Path) -> list[Path]:
    return [path for path in files(root, "*.md", "configs/*.toml") if path.name not in HISTORY]


def test_documents_write_commands_in_one_way(root: Path) -> None:
    from engine.__main__ import COMMANDS

    names = {"", "--help", *(command.name for command in COMMANDS)}
    wrong = []
    for path in documents(root):
        name = path.relative_to(root).as_posix()
        for python, module, command in written(path.read_text(encoding="utf-8")):
            right = (WINDOWS,) if name == "docs/windows.md" else (LINUX, WINDOWS)
            if python not in right or module in ("tensorboard", "pip") or (module == "engine" and command not in names):
                wrong.append(f"{name}: {python} -m {module} {command}")
    assert wrong == []


def test_the_code_writes_commands_in_one_way(root: Path) -> None:
    from engine.__main__ import COMMANDS

    names = {"", "--help", "COMMAND", *(command.name for command in COMMANDS)}
    wrong = []
    for path in files(root, "engine/*.py", "install/*.py", "install/*.toml", "scripts/*", "Install.cmd"):
        for python, module, command in written(path.read_text(encoding="utf-8-sig")):
            if module == "engine" and (python not in CODE or command not in names):
                wrong.append(f"{path.relative_to(root).as_posix()}: {python} -m {module} {command}")
    assert wrong == []


def test_a_script_that_a_document_names_is_there(root: Path) -> None:
    twins = {path.stem for path in (root / "scripts").glob("*.cmd")}
    for path in documents(root):
        named = set(re.findall(r"scripts[\\/](\w+)\.cmd", path.read_text(encoding="utf-8")))
        assert named <= twins, path.name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`python -m engine check`", [("python", "engine", "check")]),
        (r"`python_310\python.exe -s -X utf8 -m engine doctor`", [(r"python_310\python.exe -s -X utf8", "engine", "doctor")]),
        ("`.venv/bin/python -m tensorboard.main --logdir logs`", [(".venv/bin/python", "tensorboard", "--logdir")]),
        ("(python3 -m engine --help)", [("python3", "engine", "--help")]),
        ("py -m engine", [("py", "engine", "")]),
        (".venv/bin/python -m engine check train_data/mine", [(".venv/bin/python", "engine", "check")]),
        ("happy -m engineer", []),
    ],
)
def test_what_is_written_is_found(text: str, found: list[tuple[str, str, str]]) -> None:
    assert written(text) == found
