"""Ctrl-C: a run that loads stops at once; one that trains at the next good moment, and saves; pressed again, at once, but not in saving."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ONE_PRESS = 1.0  # seconds: a wrapper may pass on what the terminal has sent already, and some people press twice


class Stop:
    """Whether the user asked to stop. `tell` shows a message."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._asked: float | None = None
        self.gentle = False  # the first press only asks
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


@contextmanager
def stop_on_ctrl_c(tell: Callable[[str], None]) -> Iterator[Stop]:
    """Inside the block Ctrl-C goes to the Stop that it gives."""
    stop = Stop(tell)
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    before = {number: signal.signal(number, stop.ask) for number in _signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError):  # a handler that was not set from Python cannot be put back
                signal.signal(number, handler)


def _signals() -> list[int]:
    """Ctrl-C everywhere, Ctrl-Break on Windows, and the polite request to end that Linux sends."""
    return [getattr(signal, name) for name in ("SIGINT", "SIGBREAK", "SIGTERM") if hasattr(signal, name)]
