"""The networks of a run on their device, with its methods attached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from engine.adapters.base import Method
from engine.config.schema import Config
from engine.device import Compute
from engine.models.base_model import Base
from engine.training import methods


@dataclass(frozen=True)
class Networks:
    """What the loop runs. `encoders` are empty when text was encoded ahead."""

    unet: nn.Module
    encoders: Mapping[str, nn.Module]
    methods: tuple[Method, ...]


def assemble(config: Config, base: Base, compute: Compute, encoders: Mapping[str, nn.Module], rates: Mapping[str, float]) -> Networks:
    """Load the U-Net straight into its training format on the device, and attach the methods to the parts that have a rate."""
    unet = base.load("unet", compute.dtype, compute.device)
    if config.training.xformers:
        unet.enable_xformers_memory_efficient_attention()  # type: ignore[operator]
    if config.training.gradient_checkpointing:
        recompute_activations(unet, encoders)
    made = methods.make(config, base, {"unet": unet, **encoders}, rates)
    for method in made:
        method.attach()
        method.train(True)
    return Networks(unet, encoders, made)


def recompute_activations(unet: nn.Module, encoders: Mapping[str, nn.Module]) -> None:
    """Keep only each block's input, and compute the rest again in the backward pass."""
    unet.enable_gradient_checkpointing()  # type: ignore[operator]
    for encoder in encoders.values():
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]
        encoder.train()  # transformers checkpoints only in training mode; CLIP has no dropout, so nothing else changes
