"""The loss over a fixed set: every picture at fixed timesteps with fixed noise, so that two states of a model can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from engine.data.batches import Collator
from engine.data.items import Scan
from engine.data.order import Planned
from engine.diffusion.objective import Draw, draw
from engine.training.step import Step

TIMESTEPS = (62, 187, 312, 437, 562, 687, 812, 937)  # the middles of eight equal parts


def batches(scan: Scan, collate: Collator) -> Iterator:
    """One batch of one sample for each picture and timestep. The noise of a pair is the same at every call."""
    for place in range(len(scan.items)):
        for number, t in enumerate(TIMESTEPS):
            index = place * len(TIMESTEPS) + number

            def fixed(_: int, shape: tuple[int, ...], index: int = index, t: int = t) -> Draw:
                return replace(draw(1234, index, shape), t=torch.tensor(float(t)))

            yield replace(collate, draw=fixed)(Planned(1, 0, index, (place,), True, False))


@torch.no_grad()
def fixed_loss(step: Step, scan: Scan, collate: Collator) -> torch.Tensor:
    """The losses, float32 [pictures, 8]."""
    losses = [step(batch)[1].cpu() for batch in batches(scan, collate)]
    return torch.cat(losses).view(len(scan.items), len(TIMESTEPS))
