"""Ends a run early when asked, by Ctrl-C or a closed terminal.

A run that loads stops at once. One that trains stops at the next good moment, and saves. A second Ctrl-C stops it at once, unless it is
saving. A terminal that is closed asks once: by SIGHUP under Linux, by an event of the console under Windows.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ONE_PRESS = 1.0  # seconds: a wrapper may pass on what the terminal has sent already, and some people press twice
_HANGUP = getattr(signal, "SIGHUP", None)  # none under Windows
_CTRL_CLOSE_EVENT = 2  # Windows' number for a console window that is being closed
_CLOSING = 4.8  # seconds; Windows ends a program five seconds after that event


class Stop:
    """Whether the user asked to stop. `tell` shows a message."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._asked: float | None = None
        self.gentle = False  # the first press only asks
        self.over = threading.Event()  # the run has ended, and saved what it could
        self._saving = False

    def __call__(self) -> bool:
        return self._asked is not None

    def gently(self) -> None:
        """From now on there is something to lose."""
        self.gentle = True

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Nothing interrupts this block."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        first, now = self._asked is None, time.monotonic()
        asked = self._asked = now if self._asked is None else self._asked
        if number == _HANGUP and not first:
            return  # the shell and the system both send it
        if self._saving:
            told = "the file is being written, a moment"
        elif first and self.gentle:
            told = "stopping: what was trained is saved first; Ctrl-C once more stops at once and loses what was not saved"
        elif not first and now - asked < _ONE_PRESS:
            return
        else:
            raise KeyboardInterrupt
        with contextlib.suppress(RuntimeError):  # "reentrant call": the run was just writing to the screen
            self._tell(told)

    def closing(self, event: int) -> bool:
        """The handler of Windows' console events, called in a thread of the system's. The program is ended when it returns True.

        So it waits until the run has saved, as long as Windows lets it. Other events, and a run with nothing to lose, are left to others.
        """
        if event != _CTRL_CLOSE_EVENT or not self.gentle:
            return False
        if self._asked is None:
            self._asked = time.monotonic()
        self.over.wait(_CLOSING)
        return True


@contextmanager
def stop_on_ctrl_c(tell: Callable[[str], None]) -> Iterator[Stop]:
    """Inside the block Ctrl-C goes to the Stop that it gives."""
    stop = Stop(tell)
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    before = {number: signal.signal(number, stop.ask) for number in _signals()}
    try:
        with _console_events(stop):
            yield stop
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError):  # a handler that was not set from Python cannot be put back
                signal.signal(number, handler)


def _signals() -> list[int]:
    """Ctrl-C; Windows' Ctrl-Break; Linux' request to end, and its word of a closed terminal, unless `nohup` has had that ignored."""
    names = ["SIGINT", "SIGBREAK", "SIGTERM"]
    if _HANGUP is not None and signal.getsignal(_HANGUP) != signal.SIG_IGN:
        names.append("SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def _console_events(stop: Stop) -> Iterator[None]:
    """Inside the block a closed console window asks `stop`. Windows only.

    Python's own signals do not do: SIGBREAK's handler runs in the main thread, and the program is ended before that comes to it.
    """
    try:
        if sys.platform == "win32":
            import ctypes

            handler = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(stop.closing)
            ctypes.windll.kernel32.SetConsoleCtrlHandler(handler, True)  # the last one set is asked first
        yield
    finally:
        stop.over.set()
        if sys.platform == "win32":
            ctypes.windll.kernel32.SetConsoleCtrlHandler(handler, False)
