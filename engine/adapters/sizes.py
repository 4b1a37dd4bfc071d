"""What an adapter file says of its ranks and alphas.

They are those of its modules, whatever the settings say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
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


def of(modules: Iterable[tuple[bool, int, float]]) -> Sizes:
    """The sizes of modules, each told by whether it changes a 3x3 convolution, its rank, and its alpha as the file gives it."""
    found: dict[bool, list[tuple[int, float]]] = defaultdict(list)
    for square, rank, alpha in modules:
        found[square].append((rank, alpha))
    plain, conv = found[False] or found[True], found[True]
    return Sizes(*(_the_only(module[place] for module in group) for group in (plain, conv) for place in (0, 1)))


def _the_only(values: Iterable[float]) -> str:
    """The value that all have; empty without any."""
    distinct = set(values)
    return "Dynamic" if len(distinct) > 1 else "".join(map(str, distinct))


def told(metadata: Mapping[str, str], sizes: Sizes) -> dict[str, str]:
    """A run's metadata with what the modules really are, under sd-scripts' keys."""
    args = json.loads(metadata.get("ss_network_args", "{}"))
    if sizes.conv_dim:
        args = {**args, "conv_dim": sizes.conv_dim, "conv_alpha": sizes.conv_alpha}
    own = {"ss_network_dim": sizes.dim, "ss_network_alpha": sizes.alpha, "ss_network_args": json.dumps(args)}
    return {**metadata, **own}
