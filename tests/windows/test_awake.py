"""The machine is asked to stay awake, and let go again: what Windows itself says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig_run import Rig

pytestmark = pytest.mark.windows

CODE = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from engine.awake import kept_awake
ask = ctypes.windll.kernel32.SetThreadExecutionState  # returns the state before
ask.restype = ctypes.c_uint
with kept_awake():
    inside = ask(0x80000001)
print(hex(inside), hex(ask(0x80000000)))
"""


def test_a_run_keeps_the_machine_awake(root: Path, rig: Rig, tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(CODE, encoding="utf-8")
    python = str(rig.folder / "python/python.exe")
    status, said = rig.run(python, "-s", "-X", "utf8", rig.path(script), rig.path(root), cwd=tmp_path)
    assert (status, said.split()) == (0, ["0x80000001", "0x80000000"])
