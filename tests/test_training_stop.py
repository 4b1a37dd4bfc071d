"""Ctrl-C: at once while there is nothing to lose, asked for once there is, and never in the middle of saving."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from engine.training import stop as module
from engine.training.stop import Stop, stop_on_ctrl_c


def press(stop: Stop) -> None:
    stop.ask(signal.SIGINT, None)


def test_before_the_training_it_stops_at_once_and_the_echo_is_ignored() -> None:
    stop = Stop(print)
    with pytest.raises(KeyboardInterrupt):
        press(stop)
    press(stop)  # the same press, passed on by a wrapper: what is being cleaned up is not disturbed


def test_in_the_training_it_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    stop = Stop(told.append)
    stop.gently()
    assert not stop()
    press(stop)
    press(stop)
    assert stop() and len(told) == 1 and "saved first" in told[0]
    monkeypatch.setattr(module, "_ONE_PRESS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        press(stop)


def test_saving_is_never_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ONE_PRESS", 0.0)
    told: list[str] = []
    stop = Stop(told.append)
    stop.gently()
    with stop.saving():
        for _ in range(3):
            press(stop)
    assert stop() and told == ["the file is being written, a moment"] * 3


def test_a_screen_that_is_being_written_to_does_no_harm() -> None:
    def reentrant(text: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    stop = Stop(reentrant)
    stop.gently()
    press(stop)
    assert stop()


def test_handlers_are_put_back() -> None:
    names = ("SIGINT", "SIGBREAK" if sys.platform == "win32" else "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [signal.getsignal(number) for number in numbers]
    with stop_on_ctrl_c(print) as stop:
        assert all(signal.getsignal(number) == stop.ask for number in numbers)
        assert not stop.over.is_set()
    assert [signal.getsignal(number) for number in numbers] == before
    assert stop.over.is_set()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_ctrl_c(print):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_asks_once_however_often_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HANGUP", 1)
    monkeypatch.setattr(module, "_ONE_PRESS", 0.0)
    told: list[str] = []
    stop = Stop(told.append)
    stop.gently()
    for _ in range(3):
        stop.ask(1, None)
    assert stop() and len(told) == 1


def test_a_closed_console_window_waits_for_the_run_to_save() -> None:
    """What Windows calls in a thread of its own: it ends the program as soon as this returns True."""
    stop = Stop(print)
    assert not stop.closing(module._CTRL_CLOSE_EVENT), "nothing to lose: the next handler's business"
    stop.gently()
    for other in (0, 1, 5, 6):  # Ctrl-C, Ctrl-Break, logoff, shutdown
        assert not stop.closing(other)
    assert not stop()
    answers: list[bool] = []
    system = threading.Thread(target=lambda: answers.append(stop.closing(module._CTRL_CLOSE_EVENT)))
    system.start()
    while not stop():
        time.sleep(0.001)
    assert system.is_alive() and not answers
    stop.over.set()  # the file is written
    system.join()
    assert answers == [True]


def test_windows_is_not_kept_waiting_longer_than_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSING", 0.01)
    stop = Stop(print)
    stop.gently()
    assert stop.closing(module._CTRL_CLOSE_EVENT)
    assert stop()
