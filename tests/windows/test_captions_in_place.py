"""The journal of captions on Windows: odd names, one process at a time, and a file that another program holds open."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig_run import Rig

pytestmark = pytest.mark.windows

CODE = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from engine import files
from engine.errors import UserError
from engine.tools.captions import journal, undo
from engine.tools.captions.transaction import Change, Run, apply

files._BUSY_SECONDS = 0.5
folders = [Path("6_miku 1girl"), Path("3_圖 x")]
names = ("1.txt", "貓 😀.txt", "n" * 196 + ".txt")
for folder in folders:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"old")

def changes():
    return [Change(folder / name, b"old", b"new") for folder in folders for name in names] + [Change(folders[0] / "made.txt", None, b"x")]

def tried():
    try:
        apply(changes(), "captions add x")
    except UserError as error:
        return error.message, tidy()
    return "done", tidy()

def tidy():
    whole = len({(folder / name).read_bytes() for folder in folders for name in names}) == 1
    return whole and not (folders[0] / "made.txt").exists() and not any(map(journal.is_unfinished, folders))

apply(changes(), "captions add x")
undo.last(folders).apply()
print("undone", tidy())
holder = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from engine.tools.captions import journal\\n"
holder += "with journal.held(Path(sys.argv[2])):\\n    print('held', flush=True)\\n    sys.stdin.read()"
command = [sys.executable, "-s", "-X", "utf8", "-c", holder, sys.argv[1], str(folders[1])]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
    other.stdout.readline()
    print(*tried())
    other.kill()
with open(folders[1] / "1.txt", "rb"):
    print(*tried())
run = Run(folders, "tag x")
run.write(changes()[:1])
print("continued", Run(folders, "tag x").continued)
run.finish()
print("continued", Run(folders, "tag x").continued)
"""


def test_all_or_nothing_on_windows(root: Path, rig: Rig, tmp_path: Path) -> None:
    script = tmp_path / "try.py"
    script.write_text(CODE, encoding="utf-8")
    python = str(rig.folder / "python/python.exe")
    status, said = rig.run(python, "-s", "-X", "utf8", rig.path(script), rig.path(root), cwd=tmp_path)
    assert (status, said.replace("\r", "").splitlines()) == (
        0,
        [
            "undone True",
            "another command is changing the captions of this folder True",
            "this place cannot be written to True",
            "continued True",
            "continued False",
        ],
    )
