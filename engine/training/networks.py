"""The networks of a run on their device, with the method's adapters in them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine import adapters, files, tensorfile
from engine.adapters.base import Method
from engine.config.schema import Config, OptimizerConfig
from engine.device import Compute
from engine.errors import UserError
from engine.models.base import Base
from engine.training.optim import RateGroup


@dataclass(frozen=True)
class Networks:
    """What the loop runs. `encoders` are empty when text was encoded ahead."""

    unet: nn.Module
    encoders: Mapping[str, nn.Module]
    method: Method


def trained_parts(config: Config, base: Base) -> tuple[tuple[str, ...], list[str]]:
    """The parts of the model that get adapters, with what should be said of the choice. A rate of 0 leaves its part out."""
    network, optimizer = config.network, config.optimizer
    parts: list[str] = []
    told: list[str] = []
    if not network.network_train_text_encoder_only:
        if rate_of(optimizer, "unet_lr") > 0:
            parts.append("unet")
        else:
            told.append("the U-Net is not trained: its learning rate is 0")
    if not network.network_train_unet_only:
        if rate_of(optimizer, "text_encoder_lr") > 0:
            parts.extend(base.family.text_parts)
        else:
            told.append("the text encoder is not trained: its learning rate is 0")
    if not parts:
        raise UserError("nothing would be trained: the learning rates are 0", "set unet_lr or text_encoder_lr", where="learning_rate")
    return tuple(parts), told


def rate_of(optimizer: OptimizerConfig, key: str) -> float:
    """The learning rate that a parameter group's key names, `learning_rate` where it is left out."""
    rate = optimizer.unet_lr if key == "unet_lr" else optimizer.text_encoder_lr
    return optimizer.learning_rate if rate is None else rate


def assemble(config: Config, base: Base, compute: Compute, encoders: Mapping[str, nn.Module], parts: Sequence[str]) -> Networks:
    """Load the U-Net straight into its training format on the device, and put the method's adapters into the trained parts."""
    unet = base.load("unet", compute.dtype, compute.device)
    if config.training.xformers:
        unet.enable_xformers_memory_efficient_attention()  # type: ignore[operator]
    if config.training.gradient_checkpointing:
        _checkpoint_activations(unet, encoders)
    method = _method(config, base, {"unet": unet, **encoders}, parts)
    method.attach()
    method.train(True)
    return Networks(unet, encoders, method)


def require_fitting(config: Config, base: Base, compute: Compute, parts: Sequence[str]) -> None:
    """Raise UserError for what `assemble` cannot do, before anything is loaded: xformers, or a file to continue from that does not fit."""
    if config.training.xformers:
        _require_xformers(compute)
    if config.network.network_weights:
        _method(config, base, {part: base.outline(part) for part in parts}, parts)


def _method(config: Config, base: Base, modules: Mapping[str, nn.Module], parts: Sequence[str]) -> Method:
    """The method's adapters for the trained parts, continuing from a file where the settings name one."""
    network = config.network
    row = adapters.row(network.network_module)
    sites = [site for part in parts for site in base.family.sites(part, modules[part])]
    try:
        return adapters.make(
            row,
            sites,
            dim=network.network_dim,
            alpha=network.network_alpha,
            dropout=network.network_dropout,
            options=row.options(**network.network_args),
            seed=config.training.seed,
            scale_weight_norms=network.scale_weight_norms,
            weights=tensorfile.read(_existing(network.network_weights)) if network.network_weights else None,
            dim_from_weights=network.dim_from_weights,
        )
    except UserError as error:
        if not network.network_weights:
            raise
        raise UserError(error.message, error.hint, where=f"network_weights = {network.network_weights}") from error


def rate_groups(method: Method, optimizer: OptimizerConfig) -> list[RateGroup]:
    """The method's parameters with the learning rate of each group."""
    return [
        RateGroup(group.name, list(group.params), rate_of(optimizer, group.lr_key) * group.lr_scale) for group in method.parameter_groups()
    ]


def _existing(path: str) -> Path:
    found = Path(path)
    if not files.is_there(found) or found.is_dir():
        raise UserError("there is no such file", "give the LoRA file to continue from")
    return found


def _require_xformers(compute: Compute) -> None:
    """Raise UserError where xformers cannot be used. Without it, diffusers uses PyTorch's fused attention by itself."""
    hint = "leave `xformers` out: PyTorch's own attention is as fast"
    if compute.device.type != "cuda":
        raise UserError("xformers needs an NVIDIA card; this run is on the CPU", "leave `xformers` out", where="xformers")
    try:
        importlib.import_module("xformers.ops")
    except (ImportError, OSError) as error:  # OSError: its library was built for another torch
        raise UserError(f"xformers cannot be used here ({error})", hint, where="xformers") from error


def _checkpoint_activations(unet: nn.Module, encoders: Mapping[str, nn.Module]) -> None:
    """Keep only each block's input, and compute the rest again in the backward pass."""
    unet.enable_gradient_checkpointing()  # type: ignore[operator]
    for encoder in encoders.values():
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]
        encoder.train()  # transformers checkpoints only in training mode; CLIP has no dropout, so nothing else changes
