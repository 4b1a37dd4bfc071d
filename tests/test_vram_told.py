"""What a run's memory is told as: by `check` for whoever has not chosen yet, by `train` beside what is free."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import config, quiet

from engine import doctor
from engine.device import Compute
from engine.tools import check
from engine.training import introduction
from engine.training import train as training
from engine.vram import told
from engine.vram.estimate import GIB, Forecast
from engine.vram.exact import model_of
from engine.vram.load import Pictures

Make = Callable[..., list[Path]]
FOUND = Forecast(
    {"encode pictures": {"VAE": GIB}, "step": {"U-Net": 5 * GIB, "optimizer": GIB, "adapters": GIB // 100}, "decode": {"VAE": 9 * GIB}}
)


def test_the_largest_phase_is_told_by_its_parts() -> None:
    assert told.parts(FOUND) == "step: U-Net 5.0, optimizer 1.0"


@pytest.mark.parametrize(
    ("words", "first"), [((), "set gradient_checkpointing = true"), (("--gradient_checkpointing",), "set train_batch_size = 2 with ")]
)
def test_a_card_that_is_too_small_is_told_of(tmp_path: Path, words: tuple[str, ...], first: str) -> None:
    """With what takes less, of what is not set already."""
    settings = config(tmp_path, "--train_data_dir", "x", "--train_batch_size", "4", *words)
    (line,) = told.needed(FOUND, None, settings)
    assert line.startswith("Memory: a card of about 7.6 GB (step: U-Net 5.0")
    assert told.needed(FOUND, ("a card", 8 * GIB), settings) == [line]
    _, warning = told.needed(FOUND, ("a card", 6 * GIB), settings)
    assert warning.startswith(f"a card has 6.0 GB: this may not fit. Where it does not, in this order: {first}")


def test_nothing_is_said_of_a_network_that_nobody_measured(tmp_path: Path, micro_sd: Path) -> None:
    own = config(tmp_path, "--pretrained_model_name_or_path", str(micro_sd))
    assert told.forecast(own, model_of(own), "bf16", Pictures(1, 64 * 64)) is None
    usual = config(tmp_path, "--family", "sd1")
    assert told.forecast(usual, model_of(usual), "bf16", Pictures(1, 512 * 512)) is not None


@pytest.mark.parametrize(("mebibytes", "warned"), [(24 << 10, False), (3 << 10, True)])
def test_check_tells_it(
    tmp_path: Path, pictures: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mebibytes: int, warned: bool
) -> None:
    pictures(tmp_path / "data" / "1_dot", ((512, 512),))
    monkeypatch.setattr(doctor, "nvidia_cards", lambda: [doctor.Card("RTX", "580", mebibytes, (8, 6))])
    check.run(config(tmp_path, "--train_data_dir", str(tmp_path / "data"), "--family", "sd1"))
    said = capsys.readouterr().out
    assert re.search(r"^Memory: a card of about [34]\.\d GB \(step: U-Net 1\.6, ", said, re.MULTILINE)
    assert ("RTX has 3.0 GB: this may not fit" in said) == warned


@pytest.mark.parametrize(("free", "warned"), [(8, False), (5, True)])
def test_train_tells_it_beside_what_is_free(
    tmp_path: Path, micro_sd: Path, pictures: Make, monkeypatch: pytest.MonkeyPatch, free: int, warned: bool
) -> None:
    """On a card; on the CPU nothing is said."""
    pictures(tmp_path / "data" / "1_dot", ((64, 64),))
    reporter, said = quiet()
    words = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--device", "cpu"]
    run = training.understand(config(tmp_path, *words, "--max_train_steps", "1"), (), reporter)
    introduction.introduce(run, "x")
    assert "memory " not in said.getvalue()
    monkeypatch.setattr(told, "forecast", lambda *args: FOUND)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GIB, 10 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    introduction.introduce(replace(run, compute=Compute(torch.device("cuda", 0), "bf16", "a card")), "x")
    assert f"memory       about 6.3 GB of the card, {free}.0 GB are free; step: U-Net 5.0, optimizer 1.0\n" in said.getvalue()
    assert ("the card's memory may not suffice. Where it does not, in this order: set gradient_checkpointing" in said.getvalue()) == warned
