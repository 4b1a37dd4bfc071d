"""What `python -m engine` does around its commands: the machine is kept awake, and commands are told as they are typed here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import __main__ as main
from engine import awake, environment
from engine.commands.command import NoOptions
from engine.config.load import Loaded
from engine.config.schema import Config
from engine.console import Reporter

BUSY, DONE = 0x80000001, 0x80000000  # Windows' states; tests/windows/test_awake.py asks Windows itself


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What Windows is told while commands that compute for hours run, in order."""
    told: list[int] = []
    monkeypatch.setattr(awake, "_ask_for", told.append)
    return told


@pytest.mark.parametrize(("command", "work"), [("train", "train"), ("cache", "fill_caches")])
def test_a_long_command_keeps_the_machine_awake(states: list[int], monkeypatch: pytest.MonkeyPatch, command: str, work: str) -> None:
    from engine.training import train

    (row,) = (row for row in main.COMMANDS if row.name == command)
    loaded = Loaded(Config(), {}, ())

    def computing(*_: object) -> SimpleNamespace:
        assert states == [BUSY]
        return SimpleNamespace(interrupted=False)

    def broken(*_: object) -> None:
        raise RuntimeError("a card that does not answer any more")

    monkeypatch.setattr(train, work, computing)
    assert row.run(NoOptions(), loaded) == 0 and states == [BUSY, DONE]
    monkeypatch.setattr(train, work, broken)
    with pytest.raises(RuntimeError):
        row.run(NoOptions(), loaded)
    assert states == [BUSY, DONE] * 2


@pytest.mark.parametrize(
    ("python", "typed"),
    [(name, Path(name)) for name in ("python_310/python.exe", ".venv/bin/python")] + [("/usr/bin/python3", "python")],
)
def test_a_message_names_the_python_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], python: str, typed: object
) -> None:
    """A PC may have no `python`, or another: what a message says to type can be typed, in the product's folder."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "apply", lambda root: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / python))
    assert main.main(["inspect"]) == 1
    assert f"hint: {typed} -m engine inspect" in capsys.readouterr().err
    assert main.main(["--help"]) == 0
    assert f"\n{typed} -m engine <command>" in capsys.readouterr().out
    Reporter(plain=True).notice("`python -m engine doctor` says why")
    assert f"note: `{typed} -m engine doctor` says why" in capsys.readouterr().out
