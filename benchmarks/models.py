"""Full-size SD 1.5 and SDXL with random weights. Speed needs no other, and nobody has to download gigabytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from benchmarks.weights import tensor
from engine import models
from engine.models import blueprint, networks
from engine.models.family import Target
from engine.models.specs import Spec
from engine.models.usual import USUAL

SPECS: dict[str, tuple[str, Mapping[str, Spec]]] = {"sd15": ("sd1", USUAL["sd1"]), "sdxl": ("sdxl", USUAL["sdxl"])}


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
