"""LoHa: the elementwise product of two LoRAs.

Hyeon-Woo et al. 2022, arXiv 2108.06098; the names and the beginning are LyCORIS'.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.adapterfiles import LOHA
from engine.adapters import forms
from engine.adapters.layers import Delta


class LohaLayer(Delta):
    """W + alpha / r * (w1_a @ w1_b) * (w2_a @ w2_b): with as many values as LoRA of rank 2 r, it reaches rank r * r."""

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    kind = LOHA
    form = forms.LOHA
    ends = {"w1_a": "hada_w1_a", "w1_b": "hada_w1_b", "w2_a": "hada_w2_a", "w2_b": "hada_w2_b"}
    factors = ("w1_a", "w1_b", "w2_a", "w2_b")
    faster = ("w2_a",)  # it starts at zero, as LoRA's up does

    def start(self, name: str, values: Tensor, source: torch.Generator) -> None:
        """LyCORIS' values: normal, with a standard deviation of 0.1 for w1_a and of 1 for both b."""
        values.normal_(std=0.1 if name == "w1_a" else 1.0, generator=source)

    def delta(self) -> Tensor:
        """The weight's change at strength 1, [out, in * k * k]."""
        return (self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b) * self.scale
