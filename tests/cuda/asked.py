"""What a run asks of a card, as `engine.vram` takes it, read off what it chose."""

from __future__ import annotations

import math

import torch
from torch import Tensor, optim

from engine import vram
from engine.models import blueprint
from engine.models.base_model import Base
from engine.training.run import Run


def asked(run: Run, *, text_stays: bool, optimizer: int) -> vram.Load:
    """The plain numbers of a run. `optimizer`: bytes of its state."""
    config, base, scan = run.config, run.base, run.plan.order.scan
    family, dtype = base.family, run.compute.dtype
    vae_dtype = family.vae_dtype(dtype, config.model.no_half_vae)
    return vram.Load(
        family=family.name,
        precision=run.compute.precision,
        vae_precision="bf16" if vae_dtype.itemsize == 2 else "no",
        checkpointing=config.training.gradient_checkpointing,
        batch=max(dataset.batch_size for dataset in scan.datasets),
        pixels=max(item.placement.bucket[0] * item.placement.bucket[1] for item in scan.items),
        tokens=(config.model.max_token_length or 75) + 2,
        adapters=adapters(run, optimizer),
        unet=_bytes(base, "unet", dtype),
        text=sum(_bytes(base, part, dtype) for part in family.text_parts),
        vae=_bytes(base, "vae", vae_dtype),
        text_stays=text_stays,
        vae_batch=config.data.vae_batch_size,
        text_batch=config.data.text_encoder_batch_size or 16,
        preview_pixels=max(dataset.buckets.resolution[0] * dataset.buckets.resolution[1] for dataset in scan.datasets),
    )


def adapters(run: Run, optimizer: int) -> vram.Adapters:
    """What is trained, read off the outlines over which it was chosen."""
    layers = [layer for method in run.chosen.methods for layer in method.layers]  # type: ignore[attr-defined]
    return vram.Adapters(
        method="lora" if all(layer.thin for layer in layers) else "loha",
        rank=max((layer.rank for layer in layers if layer.site.kind != "conv3x3"), default=0),
        conv_rank=max((layer.rank for layer in layers if layer.site.kind == "conv3x3"), default=0),
        text=any(layer.site.part != "unet" for layer in layers),
        parameters=sum(parameter.nbytes for layer in layers for parameter in layer.parameters()),
        optimizer=optimizer,
    )


def state_bytes(optimizer: optim.Optimizer) -> int:
    """Of an optimizer's state, after its first step."""
    values = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.nbytes for value in values if isinstance(value, Tensor) and value.dim())


def _bytes(base: Base, part: str, dtype: torch.dtype) -> int:
    """Of one network's weights."""
    spec = base.checkpoint.networks[part].spec
    return sum(math.prod(shape) for shape in blueprint.tensors(spec).values()) * dtype.itemsize
