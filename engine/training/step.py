"""One micro-step of diffusion training: a batch in, its loss out. All of it is on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.data.batches import Batch
from engine.diffusion.objective import Objective
from engine.diffusion.schedule import Schedule, add_noise
from engine.models.family import Cond, Family


@dataclass(frozen=True)
class Step:
    """What a micro-step needs. `encoders` are empty when the batch carries its text encoded."""

    family: Family
    unet: nn.Module
    encoders: Mapping[str, nn.Module]
    objective: Objective
    tables: Schedule  # on the device
    device: torch.device
    dtype: torch.dtype
    clip_skip: int | None
    trains: frozenset[str]  # the parts that are trained, so that their forward pass is recorded

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss of the batch (a scalar with a graph) and the loss of each sample (no graph)."""
        batch = batch.to(self.device)
        cond = self.conditioning(batch)
        latent = self.family.latent
        x0 = latent.scaled(batch.mean) + latent.spread(batch.std) * batch.latent_noise
        noisy = add_noise(x0, batch.noise, batch.t, self.tables)
        pred = self.family.predict(self.unet, noisy.to(self.dtype), batch.t, cond, batch.size)
        target = self.objective.target(x0, batch.noise, batch.t, self.tables)
        return self.objective.loss(pred, target, self.objective.weight(batch.t, self.tables), batch.weight, batch.mask)

    def conditioning(self, batch: Batch) -> Cond:
        """The batch's text for the U-Net: as it was cached, or encoded now."""
        if batch.cond is not None:
            return self.family.unpack({name: self._fitted(value) for name, value in batch.cond.items()})
        if batch.ids is None:
            raise RuntimeError("a batch carries neither encoded text nor token ids")
        recorded = not self.trains.isdisjoint(self.encoders)
        with torch.set_grad_enabled(recorded and torch.is_grad_enabled()):
            return self.family.encode_text(self.encoders, batch.ids, self.clip_skip)

    def _fitted(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value
