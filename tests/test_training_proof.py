"""The proof that training works: real steps, and what is said where it does not."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from engine import optional
from engine.commands.command import settings
from engine.device import Compute
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
    said: list[str] = []
    proof.imports(said.append)
    assert said == ["json 2.0.9"]
    monkeypatch.setattr(proof, "PACKAGES", ("blocked_package",))
    with pytest.raises(UserError, match="cannot be imported: OSError: DLL load failed") as caught:
        proof.imports(said.append)
    assert caught.value.where == "blocked_package" and "blocked_package" not in sys.modules


CARD, CPU = Compute(torch.device("cuda"), "bf16", "a card"), Compute(torch.device("cpu"), "no", "the CPU")
NO_CARD = "it needs an NVIDIA card"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The optional packages that are installed, all at first; bitsandbytes' step works, xformers' attention has no kernel."""
    installed = {"bitsandbytes", "triton", "xformers"}

    def no_kernel(device: torch.device, dtype: torch.dtype) -> None:
        raise NotImplementedError("No operator found")

    for name in installed:
        module = ModuleType(name)
        module.__version__ = "1.0"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(optional, "is_here", installed.__contains__)
    monkeypatch.setattr(proof, "take_step", lambda row, device: None)
    monkeypatch.setattr(proof, "attend", no_kernel)
    return installed


def test_what_is_optional_is_tried_on_a_card(here: set[str]) -> None:
    said: list[str] = []
    assert proof.try_optional(CARD, said.append) == {"xformers": "NotImplementedError: No operator found"}
    assert said == [
        "bitsandbytes 1.0, which is optional, works",
        "triton 1.0, which is optional, works",
        "xformers, which is optional, does not work here, which is no harm: NotImplementedError: No operator found",
    ]


def test_what_is_not_installed_is_not_tried(here: set[str]) -> None:
    here -= {"triton", "xformers"}
    said: list[str] = []
    faults = proof.try_optional(CARD, said.append)
    assert faults == {"triton": "it is not installed", "xformers": "it is not installed"}
    assert said == ["bitsandbytes 1.0, which is optional, works"]
    assert set(proof.try_optional(CPU, said.append).values()) == {NO_CARD, "it is not installed"}


def test_each_optimizer_of_the_presets_is_trained_with() -> None:
    said: list[str] = []
    trained: list[str] = []
    names = ("Lion", "adamw8bit", "Prodigy")
    proof.prove_optimizers(names, CARD, {}, trained.append, said.append)
    assert trained == ["Lion", "AdamW8bit", "Prodigy"]
    assert said == [f"{name}, which presets use, trains" for name in trained]
    for compute, faults, why in ((CPU, {}, NO_CARD), (CARD, {"bitsandbytes": "it is not installed"}, "it is not installed")):
        said.clear()
        trained.clear()
        proof.prove_optimizers(names, compute, faults, trained.append, said.append)
        assert trained == ["Lion", "Prodigy"]
        assert said[1] == f"AdamW8bit, which presets use, cannot be used here: {why}"


def test_an_optimizer_that_fails_fails_the_proof() -> None:
    def train_with(name: str) -> None:
        raise RuntimeError(name)

    with pytest.raises(RuntimeError, match="Lion"):
        proof.prove_optimizers(["Lion"], CARD, {}, train_with, pytest.fail)


def test_the_optimizers_are_those_that_the_presets_name(root: Path, tmp_path: Path) -> None:
    """Of every file in configs/ once, without the one that is trained with first; a file that is damaged is told."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((root / "configs").glob("*.toml"))]
    named = {match for text in texts for match in re.findall(r'^optimizer_type = "(\w+)"', text, re.MULTILINE)}
    assert {proof.USUAL, *proof.of_presets(root, pytest.fail)} == named
    (tmp_path / "configs").mkdir()
    for number, text in enumerate(('optimizer_type = "Lion"', 'optimizer_type = "AdamW"', "", 'optimizer_type = "Lion"', "zzz = [")):
        (tmp_path / f"configs/{number}.toml").write_text(text, encoding="utf-8")
    said: list[str] = []
    assert proof.of_presets(tmp_path, said.append) == ["Lion"]
    assert len(said) == 1 and said[0].startswith("configs/4.toml cannot be used: ")


def test_the_whole_proof(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual optimizer first, then those of the presets, each in a run of its own; what comes back is the usual one's."""
    done = {name: proof.Proof(name, "no", (1.0,), 1.0, 0) for name in ("AdamW", "Lion")}
    monkeypatch.setattr(proof, "imports", lambda say: say("imports"))
    monkeypatch.setattr(proof, "choose", lambda device, precision: (CPU, []))
    monkeypatch.setattr(proof, "prove", lambda config, say: done[config.optimizer.optimizer_type])
    (folder / "configs").mkdir()
    (folder / "configs/a.toml").write_text('optimizer_type = "Lion"', encoding="utf-8")
    said: list[str] = []
    assert proof.run(folder, said.append) is done["AdamW"]
    assert said == ["imports", "Lion, which presets use, trains"]
