"""Commands that compute for hours keep the machine awake, from their first moment to their end, however that comes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from engine import __main__ as main
from engine import awake

BUSY, DONE = 0x80000001, 0x80000000  # Windows' states; tests/windows/test_awake.py asks Windows itself


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What Windows is told, in order."""
    told: list[int] = []
    monkeypatch.setattr(awake, "_ask_for", told.append)
    monkeypatch.setattr(main, "_load", lambda *_, **__: (SimpleNamespace(config=None, notices=()), {}))
    return told


@pytest.mark.parametrize(("command", "work"), [("train", "train"), ("cache", "fill_caches")])
def test_a_long_command_keeps_the_machine_awake(states: list[int], monkeypatch: pytest.MonkeyPatch, command: str, work: str) -> None:
    from engine.training import train

    (row,) = (row for row in main.COMMANDS if row.name == command)

    def computing(*_: object) -> SimpleNamespace:
        assert states == [BUSY]
        return SimpleNamespace(interrupted=False)

    def broken(*_: object) -> None:
        raise RuntimeError("a card that does not answer any more")

    monkeypatch.setattr(train, work, computing)
    assert row.run(()) == 0 and states == [BUSY, DONE]
    monkeypatch.setattr(train, work, broken)
    with pytest.raises(RuntimeError):
        row.run(())
    assert states == [BUSY, DONE] * 2
