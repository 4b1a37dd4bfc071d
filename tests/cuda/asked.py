"""What a run asks of a card, as `engine.vram` takes it, read off its networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, optim

from engine import vram
from engine.models import blueprint
from engine.models.base_model import Base
from engine.training.assembly import Networks
from engine.training.run import Run


def asked(run: Run, networks: Networks, optimizer: optim.Optimizer | None = None) -> vram.Load:
    """The plain numbers of a run. `optimizer` after its first step, so that its state is there."""
    config, base, scan = run.config, run.base, run.plan.order.scan
    family, dtype = base.family, run.compute.dtype
    vae_dtype = family.vae_dtype(dtype, config.model.no_half_vae)
    state = [value for values in optimizer.state.values() for value in values.values()] if optimizer else []
    return vram.Load(
        family=family.name,
        precision=run.compute.precision,
        vae_precision="bf16" if vae_dtype.itemsize == 2 else "no",
        checkpointing=config.training.gradient_checkpointing,
        batch=max(dataset.batch_size for dataset in scan.datasets),
        pixels=max(item.placement.bucket[0] * item.placement.bucket[1] for item in scan.items),
        tokens=(config.model.max_token_length or 75) + 2,
        adapters=adapters(networks, state),
        unet=_bytes(base, "unet", dtype),
        text=sum(_bytes(base, part, dtype) for part in family.text_parts),
        vae=_bytes(base, "vae", vae_dtype),
        text_stays=bool(networks.encoders),
        vae_batch=config.data.vae_batch_size,
        text_batch=config.data.text_encoder_batch_size or 16,
        preview_pixels=max(dataset.buckets.resolution[0] * dataset.buckets.resolution[1] for dataset in scan.datasets),
    )


def adapters(networks: Networks, state: list[object]) -> vram.Adapters:
    """What is trained."""
    layers = [layer for method in networks.methods for layer in method.layers]  # type: ignore[attr-defined]
    return vram.Adapters(
        method="lora" if all(layer.thin for layer in layers) else "loha",
        rank=max((layer.rank for layer in layers if layer.site.kind != "conv3x3"), default=0),
        conv_rank=max((layer.rank for layer in layers if layer.site.kind == "conv3x3"), default=0),
        text=any(layer.site.part != "unet" for layer in layers),
        parameters=sum(parameter.nbytes for layer in layers for parameter in layer.parameters()),
        optimizer=sum(value.nbytes for value in state if isinstance(value, Tensor) and value.dim()),
    )


def _bytes(base: Base, part: str, dtype: torch.dtype) -> int:
    """Of one network's weights."""
    spec = base.checkpoint.networks[part].spec
    return sum(math.prod(shape) for shape in blueprint.tensors(spec).values()) * dtype.itemsize
