"""Ctrl-C: at once while there is nothing to lose, asked for once there is, and never in the middle of saving."""

from __future__ import annotations

import signal
import sys

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
    before = signal.getsignal(signal.SIGINT)
    with stop_on_ctrl_c(print) as stop:
        assert signal.getsignal(signal.SIGINT) == stop.ask
        assert signal.getsignal(signal.SIGBREAK if sys.platform == "win32" else signal.SIGTERM) == stop.ask
    assert signal.getsignal(signal.SIGINT) == before
