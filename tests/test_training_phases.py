"""Memory between the phases of a run: what is dropped is gone, the card gets back what is kept, and peaks are each phase's own."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from runs import config, quiet
from torch import nn

from engine import allocation
from engine.cuda_errors import CardError
from engine.models.base_model import Base
from engine.training import train as training

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What refers to itself is held; no collector hides it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("more", [("--network_train_unet_only",), ()], ids=["text ahead", "text trained"])
def test_networks_that_were_needed_before_are_gone(
    tmp_path: Path, micro_sd: Path, pictures: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """When the next one is loaded, and when the phase is over; with sample pictures, whose prompts are encoded ahead."""
    pictures(tmp_path / "data" / "1_dot", ((64, 64),), caption="a dot")
    (tmp_path / "prompts.txt").write_text("a dot --w 64 --h 64 --s 1\n", encoding="utf-8")
    plain, loaded = Base.load, list[tuple[str, "weakref.ref[nn.Module]"]]()
    phases: list[list[str]] = []

    def load(self: Base, part: str, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
        network = plain(self, part, dtype, device)
        if dtype is not None:  # without one it is loaded for its hash alone
            loaded.append((part, weakref.ref(network)))
        return network

    monkeypatch.setattr(Base, "load", load)
    monkeypatch.setattr(allocation, "new_phase", lambda device: phases.append([part for part, there in loaded if there() is not None]))
    places = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--device", "cpu"]
    size = ["--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "2", "--max_train_steps", "1", "--gradient_checkpointing"]
    run = training.understand(config(tmp_path, *places, *size, "--sample_prompts", str(tmp_path / "prompts.txt"), *more), (), quiet()[0])
    ready = training.load(run)
    kept = [] if more else ["text_encoder"]
    assert [part for part, _ in loaded] == ["vae", "text_encoder", "unet"]
    assert phases == [[], kept, [*kept, "unet"]]
    assert list(ready.networks.encoders) == kept


def test_a_phase_gives_back_and_forgets_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append(f"reset {device}"))
    allocation.new_phase(CPU)
    assert asked == [] and allocation.peak(CPU) == 0
    allocation.new_phase(CUDA)
    assert asked == ["empty", "reset cuda"]


@pytest.mark.usefixtures("no_collector")
def test_what_an_explained_error_held_is_gone_with_it() -> None:
    """Sample pictures that find no memory end in one; the training that goes on needs what they took."""
    held: list[weakref.ref[nn.Module]] = []

    def decode() -> None:
        activations = nn.Module()
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    def make() -> None:
        with allocation.explained(CUDA, "do with less"):
            decode()

    with contextlib.suppress(CardError):
        make()
    assert held[0]() is None
