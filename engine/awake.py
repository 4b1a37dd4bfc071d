"""Keeps the machine awake during a long run. Windows counts a PC without input as idle, however hard it computes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CONTINUOUS, _SYSTEM_REQUIRED = 0x80000000, 0x00000001  # Windows' EXECUTION_STATE; the screen may go dark


@contextmanager
def kept_awake() -> Iterator[None]:
    """The machine does not go to sleep by itself while the block runs. Windows only: elsewhere the desktop decides."""
    _ask_for(_CONTINUOUS | _SYSTEM_REQUIRED)
    try:
        yield
    finally:
        _ask_for(_CONTINUOUS)


def _ask_for(state: int) -> None:
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.SetThreadExecutionState(ctypes.c_uint(state))
