"""What a LoRA file's metadata say of its ranks and alphas. They are read off the tensors, not off the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Rank and alpha of a file's modules, those of 3x3 convolutions apart: empty where there are none.

    `Dynamic`, sd-scripts' word, where they differ from module to module.
    """

    dim: str
    alpha: str
    conv_dim: str
    conv_alpha: str


def told(metadata: Mapping[str, str], sizes: Sizes) -> dict[str, str]:
    """A run's metadata with what the tensors really are, under sd-scripts' keys."""
    args = json.loads(metadata.get("ss_network_args", "{}"))
    if sizes.conv_dim:
        args = {**args, "conv_dim": sizes.conv_dim, "conv_alpha": sizes.conv_alpha}
    own = {"ss_network_dim": sizes.dim, "ss_network_alpha": sizes.alpha, "ss_network_args": json.dumps(args)}
    return {**metadata, **own}
