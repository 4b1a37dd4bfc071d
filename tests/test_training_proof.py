"""The proof that training works: real steps, and what is said where it does not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from engine.commands.command import settings
from engine.errors import UserError
from engine.training import proof


@pytest.fixture
def folder(root: Path, tmp_path: Path, micro_sd: Path) -> Path:
    """A product's folder with a base model and pictures."""
    (tmp_path / "models/micro").mkdir(parents=True)
    shutil.copy(micro_sd, tmp_path / proof.BASE)
    shutil.copytree(root / proof.PICTURES, tmp_path / proof.PICTURES)
    return tmp_path


@pytest.mark.slow
def test_real_steps_are_trained_and_nothing_stays(folder: Path) -> None:
    said: list[str] = []
    with proof.temporary(folder) as place:
        done = proof.prove(settings([*proof.settings(folder, place), "--device", "cpu"]).config, said.append)
    assert str(done).startswith("a real training step ran on the CPU (fp32, 4 steps in ") and len(done.losses) == proof.STEPS
    assert said == [] and list((folder / "cache").iterdir()) == []


@pytest.mark.slow
def test_what_failed_is_told_with_what_the_run_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "STEPS", 1)
    said: list[str] = []
    with proof.temporary(folder) as place:
        config = settings([*proof.settings(folder, place), "--device", "cpu", "--resolution", "1000000"]).config
        with pytest.raises((UserError, RuntimeError)):
            proof.prove(config, said.append)
    assert said


@pytest.mark.parametrize("missing", [proof.BASE, proof.PICTURES])
def test_what_it_needs_is_named(tmp_path: Path, missing: str) -> None:
    for name in {proof.BASE, proof.PICTURES} - {missing}:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        proof.settings(tmp_path, tmp_path)
    assert caught.value.where == missing and caught.value.hint


def test_packages_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked_package.py").write_text("raise OSError('DLL load failed')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(proof, "PACKAGES", ("json",))
    monkeypatch.setattr(proof, "OPTIONAL", ("no_such_package", "blocked_package"))
    said: list[str] = []
    proof.imports(said.append)
    assert said == ["json 2.0.9", "blocked_package, which is optional, cannot be imported: DLL load failed"]
    monkeypatch.setattr(proof, "PACKAGES", ("blocked_package",))
    with pytest.raises(UserError, match="cannot be imported: DLL load failed") as caught:
        proof.imports(said.append)
    assert caught.value.where == "blocked_package" and "blocked_package" not in sys.modules
