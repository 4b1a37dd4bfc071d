"""What a training step compares, and how much each sample counts. Pure: randomness comes from a seed and the sample's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine import seeds
from engine.diffusion.schedule import TIMESTEPS, Schedule, lookup, velocity
from engine.errors import UserError

_SNR_CAP = 1000.0  # debiased estimation takes no ratio as greater: at t = 0 it would be 1176


def generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """The CPU's random numbers for one purpose of one sample of the run; the same on every machine and in every order."""
    return torch.Generator("cpu").manual_seed(seeds.derived(seed, purpose, index))


@dataclass(frozen=True)
class Draw:
    """Everything random of one sample, float32 on the CPU."""

    t: Tensor  # scalar, a whole number in 0..999
    noise: Tensor  # [C, h, w], offset included
    latent_noise: Tensor  # [C, h, w], picks the latent from the VAE's mean and spread


def draw(
    seed: int,
    index: int,
    shape: Sequence[int],
    *,
    min_timestep: int | None = None,
    max_timestep: int | None = None,
    noise_offset: float | None = None,
) -> Draw:
    """Draw sample `index` of the run, latents of `shape` [C, h, w].

    t is uniform over min_timestep (0) up to and without max_timestep (1000); equal limits give a constant. `noise_offset` o adds
    o * N(0, 1) to each channel as a whole. Each of the three has a generator of its own, so that none depends on another's setting.
    """
    low = 0 if min_timestep is None else min_timestep
    high = TIMESTEPS if max_timestep is None else max_timestep
    if not 0 <= low <= high <= TIMESTEPS or low == TIMESTEPS:
        hint = f"keep to 0 <= min_timestep <= max_timestep <= {TIMESTEPS}, with min_timestep below {TIMESTEPS}"
        raise UserError(f"no timestep lies from {low} up to {high}", hint, where="min_timestep")
    t = torch.randint(low, max(high, low + 1), (), generator=generator(seed, "t", index)).float()
    source = generator(seed, "noise", index)
    noise = torch.randn(tuple(shape), generator=source)
    if noise_offset:
        noise += noise_offset * torch.randn((shape[0], *(1,) * (len(shape) - 1)), generator=source)
    return Draw(t, noise, torch.randn(tuple(shape), generator=generator(seed, "latent", index)))


@dataclass(frozen=True)
class Objective:
    """What the network is asked to predict, and the weight of each t."""

    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    min_snr_gamma: float | None = None
    debiased_estimation: bool = False

    def check(self, tables: Schedule, min_timestep: int | None = None, max_timestep: int | None = None) -> None:
        """Raise UserError where a weight would be infinite. Reads the tables: call it once, before the loop, with tables on the CPU."""
        low = min_timestep or 0
        high = max(TIMESTEPS if max_timestep is None else max_timestep, low + 1)
        if not self.weight(torch.arange(low, high).float(), tables).isfinite().all():
            raise UserError(
                "with epsilon prediction on a zero-terminal schedule, debiased estimation weighs the last timestep infinitely",
                "set v_parameterization, or leave debiased_estimation_loss out, or set max_timestep = 999",
                where="debiased_estimation_loss",
            )

    def target(self, x0: Tensor, noise: Tensor, t: Tensor, tables: Schedule) -> Tensor:
        """What the network's output is compared with. x0 and noise [B, C, h, w] float32, t [B]."""
        return noise if self.prediction == "epsilon" else velocity(x0, noise, t, tables)

    def weight(self, t: Tensor, tables: Schedule) -> Tensor:
        """How much each sample's loss counts for its t. float32 [B].

        Min-SNR (Hang et al. 2023, arXiv 2303.09556): min(snr, gamma) / snr, for v min(snr, gamma) / (snr + 1).
        Debiased estimation (Yu et al. 2023, arXiv 2310.08442): 1 / sqrt(snr), for v 1 / (snr + 1). Both asked for, both multiply.
        """
        snr = lookup(tables.snr, t)
        weight = torch.ones_like(snr)
        if self.min_snr_gamma is not None:
            if self.prediction == "epsilon":
                weight = (self.min_snr_gamma / snr).clamp(max=1.0)  # = min(snr, gamma) / snr, and 1 at snr = 0
            else:
                weight = snr.clamp(max=self.min_snr_gamma) / (snr + 1.0)
        if self.debiased_estimation:
            capped = snr.clamp(max=_SNR_CAP)
            weight = weight * (capped.rsqrt() if self.prediction == "epsilon" else 1.0 / (capped + 1.0))
        return weight

    def loss(
        self, pred: Tensor, target: Tensor, weight: Tensor, sample_weight: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss (scalar float32, with a graph) and the loss of each sample (float32 [B], without one).

        Squared error in float32, times `mask` ([B, 1 or C, h, w]) where there is one, mean over each sample, times `sample_weight` [B]
        (regularisation pictures), times `weight` [B], mean over the batch.
        """
        error = torch.nn.functional.mse_loss(pred.float(), target.float(), reduction="none")
        if mask is not None:
            error = error * mask
        each = error.flatten(1).mean(1)
        if sample_weight is not None:
            each = each * sample_weight
        each = each * weight
        return each.mean(), each.detach()
