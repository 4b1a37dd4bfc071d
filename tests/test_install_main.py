"""`python -m install`: how it ends, and in which folders it does not begin."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from engine.errors import UserError
from install import __main__ as install
from install.__main__ import Setup


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
