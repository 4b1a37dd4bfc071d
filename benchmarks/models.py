"""Full-size SD 1.5 and SDXL with random weights. Speed needs no other, and nobody has to download gigabytes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.weights import tensor
from engine import models
from engine.models import blueprint, networks
from engine.models.family import Target
from engine.models.specs import ClipSpec, Spec, UnetSpec, VaeSpec

_CLIP_L = ClipSpec(width=768, layers=12, heads=12, mlp=3072, activation="quick_gelu")

SD15: dict[str, Spec] = {
    "text_encoder": _CLIP_L,
    "unet": UnetSpec(4, 4, (320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, 768, (8, 8, 8, 8), linear_projection=False),
    "vae": VaeSpec(3, 4, (128, 256, 512, 512), 2, 0.18215),
}
SDXL: dict[str, Spec] = {
    "text_encoder": _CLIP_L,
    "text_encoder_2": ClipSpec(width=1280, layers=32, heads=20, mlp=5120, activation="gelu", projection=1280),
    "unet": UnetSpec(
        4, 4, (320, 640, 1280), 2, (0, 2, 10), 10, 2048, (5, 10, 20), linear_projection=True, label_width=2816, size_width=256
    ),
    "vae": VaeSpec(3, 4, (128, 256, 512, 512), 2, 0.13025),
}
SPECS: dict[str, tuple[str, dict[str, Spec]]] = {"sd15": ("sd1", SD15), "sdxl": ("sdxl", SDXL)}


def make(name: str, folder: Path) -> Path:
    """The single-file checkpoint of a full-size model in fp16, as users have it; made once."""
    path = folder / f"random-{name}.safetensors"
    if path.is_file():
        return path
    family, specs = SPECS[name]
    parts = {part: _network(spec, f"{name}.{part}") for part, spec in specs.items()}
    models.get(family).save(parts, Target(path, dtype=torch.float16))
    return path


def _network(spec: Spec, part: str) -> nn.Module:
    """One random network. Each tensor is halved as it is drawn: SDXL in float32 would not fit into 16 GB."""
    tensors = {name: tensor(f"{part}.{name}", shape, seed=1).to(torch.float16) for name, shape in blueprint.tensors(spec).items()}
    return networks.filled(networks.build(spec), tensors)
