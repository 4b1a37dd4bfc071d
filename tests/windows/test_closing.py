"""A console window that is closed: the handler stands with Windows, and what the system calls waits until the run has saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig_run import Rig

pytestmark = pytest.mark.windows

CODE = """
import ctypes, sys, threading, time
sys.path.insert(0, sys.argv[1])
from engine.training.stop import stop_on_ctrl_c
kernel, plain, handlers = ctypes.windll.kernel32, ctypes.windll.kernel32.SetConsoleCtrlHandler, []
def known(handler, add):
    handlers.append(handler)
    return answers.append(plain(handler, add))
answers = []
kernel.SetConsoleCtrlHandler = known
with stop_on_ctrl_c(print) as stop:
    stop.gently()
    called = []
    system = threading.Thread(target=lambda: called.append(handlers[0](2)))
    system.start()
    while not stop():
        time.sleep(0.01)
    waits = system.is_alive()
system.join()
print(answers, called, waits)
"""


def test_the_handler_stands_and_waits(root: Path, rig: Rig, tmp_path: Path) -> None:
    script = tmp_path / "close.py"
    script.write_text(CODE, encoding="utf-8")
    python = str(rig.folder / "python/python.exe")
    status, said = rig.run(python, "-s", "-X", "utf8", rig.path(script), rig.path(root), cwd=tmp_path)
    assert (status, said.split()) == (0, ["[1,", "1]", "[1]", "True"])
