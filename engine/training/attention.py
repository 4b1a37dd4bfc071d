"""xformers' attention: taken where it works, PyTorch's own elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import importlib

import torch
import torch.nn.functional as F

from engine import optional
from engine.config.schema import Config
from engine.device import Compute

_WIDTHS = (40, 64, 80, 160)  # of the heads of SD 1.x and SDXL
_NEAR = 0.05  # relative; bf16 rounds at 0.004


def settle(config: Config, compute: Compute) -> tuple[Config, list[str]]:
    """Settings in which `xformers` is on only where it works, and what to say where it was switched off. Before diffusers is imported."""
    if not config.training.xformers:
        return config, []
    if compute.device.type != "cuda":
        why = "it needs an NVIDIA card"
    else:
        optional.tried("triton", functools.partial(importlib.import_module, "triton"))  # xformers warns at length where it finds none
        why = optional.tried("xformers", functools.partial(attend, compute.device, compute.dtype))
    if not why:
        return config, []
    told = f"xformers cannot be used here ({why}): PyTorch's own attention is, which computes the same and is as fast"
    return dataclasses.replace(config, training=dataclasses.replace(config.training, xformers=False)), [told]


def attend(device: torch.device, dtype: torch.dtype) -> None:
    """xformers' attention with its gradient as a U-Net asks for it, held against PyTorch's. Raises whatever xformers raises.

    In fp32 too: diffusers tries it in fp32 when it is switched on.
    """
    ops = importlib.import_module("xformers.ops")
    draw = torch.Generator().manual_seed(0)
    for kind in dict.fromkeys((torch.float32, dtype)):
        for width in _WIDTHS:
            query, words = (torch.randn(8, length, width, generator=draw).to(device, kind).requires_grad_() for length in (64, 77))
            ours = ops.memory_efficient_attention(query, words, words)
            ours.float().square().mean().backward()
            own = F.scaled_dot_product_attention(query, words, words)
            off = (ours - own).detach().float().norm() / own.detach().float().norm()
            sound = all(tensor.grad is not None and bool(tensor.grad.isfinite().all()) for tensor in (query, words))
            if not (float(off) <= _NEAR and sound):
                raise ArithmeticError(f"its attention of width {width} gives other numbers than PyTorch's in {kind}")
