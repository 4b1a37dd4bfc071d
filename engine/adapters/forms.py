"""The parameters of one layer's change, by the shape of its weight.

Pure; imports no torch: the layers of the methods are built by it, and what a run would train is counted by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """The parameters of one kind of change."""

    shapes: Callable[[Shape, int], dict[str, Shape]]  # of the weight and the rank -> of each parameter, in the order of its layer's `ends`
    zeros: frozenset[str]  # parameters whose values all begin at zero
    kinds: frozenset[str] = frozenset(("linear", "conv1x1", "conv3x3"))  # of the sites that it can change
    thin: bool = False  # applied by its factors; the change itself is not formed in training


def _lora(weight: Shape, rank: int) -> dict[str, Shape]:
    """[r, in(, k, k)] and [out, r(, 1, 1)]."""
    return {"down": (rank, *weight[1:]), "up": (weight[0], rank, *(1,) * (len(weight) - 2))}


def _loha(weight: Shape, rank: int) -> dict[str, Shape]:
    """[out, r] and [r, in * k * k], twice."""
    a, b = (weight[0], rank), (rank, math.prod(weight[1:]))
    return {"w1_a": a, "w1_b": b, "w2_a": a, "w2_b": b}


LORA = Form(_lora, frozenset(("up",)), thin=True)
LOHA = Form(_loha, frozenset(("w2_a",)))
