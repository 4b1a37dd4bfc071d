"""When a run has outgrown its card, from the numbers that torch gives; told once, and only where Windows lends memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import config, quiet

from engine.training import memory
from engine.training import train as training

GB = 2**30


@pytest.mark.parametrize(
    ("reserved", "free", "spilled"),
    [
        (5, 3.0, False),
        (7.4, 0.6, False),
        (7.9, 0.0, False),  # full to the last byte, and it fits
        (8.2, 0.0, True),
        (8.2, 0.3, True),
        (8.2, 1.0, False),  # another program has ended, and left more than this run has taken
        (12, 0, True),
        (3, 0.0, False),  # another program fills the card
    ],
)
def test_what_counts_as_spilled(reserved: float, free: float, spilled: bool) -> None:
    """A card of 10 GB, of which 8 were free."""
    assert memory.spills(int(reserved * GB), 8 * GB, int(free * GB), 10 * GB) is spilled


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A card of 10 GB under Windows: what is free and reserved, in GB."""
    numbers = {"free": 8.0, "reserved": 0.0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(numbers["free"] * GB), 10 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: int(numbers["reserved"] * GB))
    monkeypatch.setattr(sys, "platform", "win32")
    return numbers


def test_it_is_told_once(card: dict[str, float]) -> None:
    watch = memory.Watch(torch.device("cuda"), "lower it")
    assert watch.look() == ""
    card.update(free=0, reserved=7.9)
    assert watch.look() == ""
    card.update(free=0, reserved=9)
    told = watch.look()
    assert "holds 9.0 GB" in told and "8.0 of 10.0 GB were free" in told and "0.0 GB are left" in told and "To mend that, lower it." in told
    assert watch.look() == ""


def test_a_run_whose_networks_do_not_fit_is_told(card: dict[str, float]) -> None:
    """They are there before anyone looks: what they hold beyond the card was never room."""
    card.update(free=0, reserved=11)
    assert "holds 11.0 GB" in memory.Watch(torch.device("cuda"), "").look()


def test_elsewhere_nothing_is_asked() -> None:
    assert memory.Watch(torch.device("cpu"), "").look() == ""


def test_a_run_looks_while_it_trains_and_tells(
    tmp_path: Path, micro_sd: Path, pictures: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each log interval; what it sees is said in the run, which goes on."""
    looks = iter(["", "the card's memory is full: this run has outgrown it", ""])
    monkeypatch.setattr(memory.Watch, "look", lambda self: next(looks))
    pictures(tmp_path / "data" / "1_dot", ((64, 64),))
    places = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--device", "cpu"]
    size = ["--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "4", "--max_train_steps", "6", "--log_every_n_steps", "2"]
    reporter, said = quiet()
    result = training.train(config(tmp_path, *places, *size), reporter=reporter)
    assert result.step == 6 and next(looks, "none left") == "none left"
    assert said.getvalue().count("this run has outgrown it") == 1
