"""When a run has outgrown its card, from the numbers that torch gives; told once, and only where Windows lends memory."""

from __future__ import annotations

import sys

import pytest
import torch

from engine.training import memory

GB = 2**30


@pytest.mark.parametrize(
    ("reserved", "free", "spilled"),
    [(5, 3.0, False), (7.4, 0.6, False), (7.6, 0.05, True), (8.2, 0.3, True), (12, 0, True), (3, 0.0, False)],
)
def test_what_counts_as_spilled(reserved: float, free: float, spilled: bool) -> None:
    """A card of 10 GB, of which 8 were free; in the last case another program fills it."""
    assert memory.spills(int(reserved * GB), 8 * GB, int(free * GB), 10 * GB) is spilled


def test_it_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"free": 8 * GB, "reserved": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (numbers["free"], 10 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: numbers["reserved"])
    monkeypatch.setattr(sys, "platform", "win32")
    watch = memory.Watch(torch.device("cuda"))
    assert watch.look() == ""
    numbers.update(free=0, reserved=9 * GB)
    told = watch.look()
    assert "holds 9.0 GB" in told and "8.0 of 10.0 GB were free" in told and "train_batch_size" in told
    assert watch.look() == ""


def test_elsewhere_nothing_is_asked() -> None:
    assert memory.Watch(torch.device("cpu")).look() == ""
