"""The networks of a run: what is loaded, what is asked of it, and that its methods are attached."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from training_fakes import FixedMethod

from engine.config.schema import Config, TrainingConfig
from engine.device import Compute
from engine.training import methods
from engine.training.assembly import assemble

CPU = Compute(torch.device("cpu"), "bf16", "the CPU")


class Network(nn.Module):
    """A network that keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []
        self.training = False

    def enable_xformers_memory_efficient_attention(self) -> None:
        self.told.append("xformers")

    def enable_gradient_checkpointing(self) -> None:
        self.told.append("checkpointing")

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, object]) -> None:
        self.told.append(gradient_checkpointing_kwargs)


class Seen(SimpleNamespace):
    """What was loaded, what the methods were made of, and what was made."""

    loaded: list[object]
    told: tuple[Any, ...]
    unet: Network
    methods: tuple[FixedMethod, ...]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """`methods.make` keeps its arguments; a base model hands out `seen.unet`."""
    seen = Seen(loaded=[], told=(), unet=Network(), methods=(FixedMethod(), FixedMethod()))

    def make(*told: object) -> tuple[FixedMethod, ...]:
        seen.told = told
        return seen.methods

    def load(*wanted: object) -> Network:
        seen.loaded.append(wanted)
        return seen.unet

    monkeypatch.setattr(methods, "make", make)
    seen.base = SimpleNamespace(load=load)
    return seen


def test_the_unet_is_loaded_and_every_method_attached(seen: Seen) -> None:
    encoders, rates, config = {"text_encoder": Network()}, {"unet": 1e-4}, Config()
    made = assemble(config, seen.base, CPU, encoders, rates)
    assert seen.loaded == [("unet", torch.bfloat16, torch.device("cpu"))]
    assert seen.told == (config, seen.base, {"unet": seen.unet, **encoders}, rates)
    assert (made.unet, made.encoders, made.methods) == (seen.unet, encoders, seen.methods)
    assert [method.told for method in seen.methods] == [["attach", "train True"]] * 2


@pytest.mark.parametrize(
    ("training", "of_unet", "of_encoder"),
    [
        (TrainingConfig(), [], []),
        (TrainingConfig(gradient_checkpointing=True), ["checkpointing"], [{"use_reentrant": False}]),
        (TrainingConfig(xformers=True), ["xformers"], []),
    ],
)
def test_what_the_networks_are_asked_for(seen: Seen, training: TrainingConfig, of_unet: list[object], of_encoder: list[object]) -> None:
    encoder = Network()
    assemble(Config(training=training), seen.base, CPU, {"text_encoder": encoder}, {"unet": 1.0})
    assert (seen.unet.told, encoder.told) == (of_unet, of_encoder)
    assert (seen.unet.training, encoder.training) == (False, training.gradient_checkpointing)
