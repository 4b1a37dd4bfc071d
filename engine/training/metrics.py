"""Statistics that gather on the device and are read once per log interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mean:
    """Statistics of one name over an interval."""

    count: int
    mean: float
    spread: float  # standard deviation


class Sums:
    """Running count, sum and sum of squares of named values, kept on the device in fp32 pairs and read together.

    Values that are not finite are counted apart and left out of the sums, so one of them does not hide the rest.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add values of any shape; nothing is read back."""
        values = values.detach().to(self._device, torch.float32).flatten()
        finite = torch.isfinite(values)
        kept = torch.where(finite, values, 0.0)
        row = torch.stack([finite.sum(), kept.sum(), (kept * kept).sum(), (~finite).sum()])
        self._rows[name] = self._rows[name] + row if name in self._rows else row

    def read(self) -> tuple[dict[str, Mean], dict[str, int]]:
        """All means since the last read, and how many values of each name were not finite. One copy from the device; starts anew."""
        if not self._rows:
            return {}, {}
        names = list(self._rows)
        table = torch.stack([self._rows[name] for name in names]).cpu().double().tolist()
        self._rows.clear()
        means = {}
        for name, (count, total, squares, _) in zip(names, table, strict=True):
            if count:
                mean = total / count
                means[name] = Mean(int(count), mean, math.sqrt(max(0.0, squares / count - mean * mean)))
        return means, {name: int(row[3]) for name, row in zip(names, table, strict=True) if row[3]}
