"""Stand-ins for the tests of `engine.training`'s leaves: a method with fixed tensors, an order with fixed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters import file
from engine.adapters.base import ParamGroup
from engine.adapters.sizes import Sizes, told
from engine.data.buckets import BucketOptions, Placement
from engine.data.items import Dataset, Item, Scan, Subset
from engine.data.order import Order

DOWN, UP, ALPHA = "lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight", "lora_unet_x.alpha"


class FixedMethod:
    """A method whose tensors are given; it keeps what the loop tells it."""

    def __init__(self, down: float = 0.5, up: float = 0.25, groups: Sequence[ParamGroup] = ()) -> None:
        self.down, self.up = down, up
        self.groups = list(groups)
        self.told: list[object] = []
        self.notices: tuple[str, ...] = ()
        self.trains = frozenset(("unet", "text_encoder"))

    def tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """One module of rank 2 and alpha 1."""
        return {
            DOWN: torch.full((2, 3), self.down).to(dtype),
            UP: torch.full((4, 2), self.up).to(dtype),
            ALPHA: torch.tensor(1.0, dtype=dtype),
        }

    def write(self, path: Path, dtype: torch.dtype, metadata: Mapping[str, str]) -> tuple[Path, ...]:
        file.write(path, self.tensors, lambda tensors: not tensors[UP].any(), dtype, told(metadata, Sizes("2", "1.0", "", "")))
        return (path,)

    def parameter_groups(self) -> list[ParamGroup]:
        return self.groups

    def attach(self) -> None:
        self.told.append("attach")

    def train(self, mode: bool) -> None:
        self.told.append(f"train {mode}")

    def prepare(self, micro_step: int, batch: object) -> None:
        self.told.append((micro_step, batch))

    def after_step(self) -> dict[str, Tensor]:
        self.told.append("after step")
        return {"largest norm": torch.tensor(3.0)}


class FixedOrder(Order):
    """An order whose epochs have batches of these sizes: those of epoch 1, 2, ...; the last entry holds for all that follow."""

    def __init__(self, epochs: Sequence[Sequence[int]], accumulation: int = 1) -> None:
        placement = Placement((64, 64), (64, 64), (0, 0))
        regs = len(epochs) > 1  # only regularisation pictures make epochs differ
        item = Item(Path("a.png"), "a", "file", 0, 0, 1, regs, (64, 64), "0" * 64, placement, False, "")
        subset = Subset(Path("1_a"))
        super().__init__(Scan((Dataset((subset,), BucketOptions((64, 64))),), (subset,), (item,)), 0, accumulation=accumulation)
        self._batches = epochs

    def epoch(self, epoch: int) -> list[list[int]]:
        """Batches of the only picture."""
        return [[0] * size for size in self._batches[min(epoch, len(self._batches)) - 1]]


def groups_of(rates: Mapping[str, float]) -> list[ParamGroup]:
    """Groups of one parameter, by name."""
    return [ParamGroup(name, (torch.nn.Parameter(torch.zeros(1)),), rate) for name, rate in rates.items()]
