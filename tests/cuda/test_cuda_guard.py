"""What the pretended card leans on inside torch, in one test that says so when torch changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="tests/cuda/guard.py is for Linux")]


def test_torch_is_as_the_guard_expects(root: Path) -> None:
    """In a process of its own: the guard must be there before the first backward pass, and where torch changed the process may just end."""
    command = [sys.executable, "-s", "-X", "utf8", "-m", "tests.cuda.guard_check"]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300)
    told = ran.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    assert ran.returncode == 0, (
        f"{told[0]}\n(status {ran.returncode}; see the head of tests/cuda/guard.py; every other test in tests/cuda needs it)\n{ran.stderr}"
    )
    assert ran.stdout.strip() == "both backward passes ran"
