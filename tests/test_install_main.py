"""`python -m install`: how it ends, and in which folders it does not begin."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from engine import optional
from engine.errors import UserError
from engine.locks import Pin
from install import __main__ as install
from install.__main__ import Options, Setup
from install.log import Log


@pytest.mark.parametrize(
    ("ended", "last"),
    [
        (UserError("no network", "connect", where="pip"), ["not ready: pip: no network", "next: connect"]),
        (KeyboardInterrupt(), ["not ready: stopped", "next: run Install.cmd again: it resumes there"]),
        (OSError(errno.ENOSPC, "No space"), ["not ready: the disk is full", "next: free 10 GB on this drive and run Install.cmd again"]),
    ],
)
def test_it_ends_with_the_one_thing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ended: BaseException, last: list[str]
) -> None:
    def run(self: Setup) -> None:
        raise ended

    monkeypatch.setattr(Setup, "run", run)
    assert install.main(["--torch=cpu", "--proxy=", "--pip_mirror=", "--torch_mirror="], tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == last
    assert last[0] in (tmp_path / "logs/install.log").read_text(encoding="utf-8")


def test_a_file_in_use_is_told(tmp_path: Path) -> None:
    told = install.explain(PermissionError(errno.EACCES, "Access is denied", "torch.dll"))
    assert "torch.dll" in told.message and "close every program" in told.hint


def test_a_success_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    awake: list[int] = []
    monkeypatch.setattr("engine.awake._ask_for", awake.append)
    monkeypatch.setattr(Setup, "run", lambda self: awake.append(0))
    assert install.main([], tmp_path) == 0
    assert len(awake) == 3 and awake[1] == 0  # asked to stay awake, worked, let go
    assert "scripts\\demo.cmd" in capsys.readouterr().out


def test_folders_in_which_it_cannot_end_well(tmp_path: Path) -> None:
    install.require_place(tmp_path, 0)
    with pytest.raises(UserError, match="characters, and 108 is the most"):
        install.require_place(tmp_path / ("x" * 120), 0)
    with pytest.raises(UserError, match="GB are needed"):
        install.require_place(tmp_path, 1 << 60)


OPTIONAL = [Pin(name, "1.0") for name in ("bitsandbytes", "triton-windows", "xformers")]


class Proofs:
    """A log whose proofs fail as long as one of the culprits is used; keeps what each was run without, and what was said."""

    def __init__(self, *culprits: str) -> None:
        self.culprits = set(culprits)
        self.without: list[list[str]] = []
        self.said: list[str] = []

    def say(self, text: str = "") -> None:
        self.said.append(text.strip())

    note = say

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
        assert command[-2:] == ["doctor", "--run"]
        self.without.append([word for word in environment[optional.LEFT_OUT].split(",") if word])
        return int(not self.culprits <= set(self.without[-1])), []


def installed(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.glob("*.dist-info"))


@pytest.mark.parametrize(
    ("culprits", "tried", "left"),
    [
        ((), [[]], ["bitsandbytes", "triton_windows", "xformers"]),
        (("xformers",), [[], ["*"], ["bitsandbytes"], ["triton"], ["xformers"]], ["bitsandbytes", "triton_windows"]),
        (("bitsandbytes",), [[], ["*"], ["bitsandbytes"]], ["triton_windows", "xformers"]),
        (("bitsandbytes", "xformers"), [[], ["*"], ["bitsandbytes"], ["triton"], ["xformers"]], []),
        (("the driver",), [[], ["*"]], ["bitsandbytes", "triton_windows", "xformers"]),
    ],
)
def test_only_the_optional_package_that_breaks_the_proof_is_removed(
    tmp_path: Path, culprits: tuple[str, ...], tried: list[list[str]], left: list[str]
) -> None:
    """ "*" stands for all of them."""
    site = tmp_path / "Lib" / "site-packages"
    for name in ("bitsandbytes", "triton_windows", "xformers"):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
    log = Proofs(*culprits)
    setup = Setup(tmp_path, site, Options(), cast(Log, log))
    everything = [optional.MODULES[pin.name] for pin in OPTIONAL]
    if culprits == ("the driver",):
        with pytest.raises(UserError, match="everything is installed, but the proof failed"):
            setup.proof(OPTIONAL)
    else:
        setup.proof(OPTIONAL)
    assert log.without == [everything if words == ["*"] else words for words in tried]
    assert installed(site) == left
    assert any("removed, which is no harm" in line for line in log.said) is (len(left) < 3)


def test_a_proof_that_fails_with_one_optional_package(tmp_path: Path) -> None:
    """There is nothing to choose from: it is run once more, not twice."""
    log = Proofs("xformers")
    Setup(tmp_path, tmp_path, Options(), cast(Log, log)).proof(OPTIONAL[2:])
    assert log.without == [[], ["xformers"]]
    for pins in ([], OPTIONAL[:1]):
        with pytest.raises(UserError, match="the proof failed"):
            Setup(tmp_path, tmp_path, Options(), cast(Log, Proofs("driver"))).proof(pins)
