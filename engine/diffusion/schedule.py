"""The noise schedule of Stable Diffusion, and what a step looks up in it. It is in double precision.

x_t = signal(t) * x_0 + spread(t) * noise, with signal = sqrt(alphas_cumprod) and spread = sqrt(1 - alphas_cumprod)
(Ho et al. 2020, arXiv 2006.11239, equation 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TIMESTEPS = 1000


def betas() -> Tensor:
    """Stable Diffusion's variances: linear in their square root from 0.00085 to 0.012. float64 [1000]."""
    return torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2


def alphas_cumprod(zero_terminal_snr: bool = False) -> Tensor:
    """The share of the signal's variance left at each t. float64 [1000].

    With `zero_terminal_snr` the schedule is shifted and stretched so that nothing is left at the last t while the first keeps its value
    (Lin et al. 2023, arXiv 2305.08891, algorithm 1).
    """
    plain = torch.cumprod(1.0 - betas(), dim=0)
    if not zero_terminal_snr:
        return plain
    root = plain.sqrt()
    first, last = root[0], root[-1]
    return ((root - last) * (first / (first - last))) ** 2


def signal_to_noise(alphas: Tensor) -> Tensor:
    """The signal-to-noise ratio of each entry of `alphas_cumprod`."""
    return alphas / (1.0 - alphas)


@dataclass(frozen=True)
class Schedule:
    """The tables that a training step looks t up in. float32 [1000] each, all on one device."""

    signal: Tensor
    spread: Tensor
    snr: Tensor

    def to(self, device: torch.device | str) -> Schedule:
        """The same tables on another device."""
        return Schedule(self.signal.to(device), self.spread.to(device), self.snr.to(device))


def schedule(zero_terminal_snr: bool = False) -> Schedule:
    """The tables on the CPU. The signal-to-noise ratio is that of the schedule trained with: taken after the rescale."""
    alphas = alphas_cumprod(zero_terminal_snr)
    return Schedule(alphas.sqrt().float(), (1.0 - alphas).sqrt().float(), signal_to_noise(alphas).float())


def lookup(table: Tensor, t: Tensor) -> Tensor:
    """The table's entries at t (float32 whole numbers, [B]), on the device and without waiting for it. [B]."""
    return table.index_select(0, t.long())


def add_noise(x0: Tensor, noise: Tensor, t: Tensor, tables: Schedule) -> Tensor:
    """x_t for t [B]; x0 and noise [B, ...] alike, float32."""
    return _column(tables.signal, t, x0) * x0 + _column(tables.spread, t, x0) * noise


def velocity(x0: Tensor, noise: Tensor, t: Tensor, tables: Schedule) -> Tensor:
    """v = signal * noise - spread * x0 (Salimans and Ho 2022, arXiv 2202.00512, appendix D)."""
    return _column(tables.signal, t, x0) * noise - _column(tables.spread, t, x0) * x0


def _column(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """The entries at t, shaped [B, 1, ...] to multiply `like`."""
    return lookup(table, t).view(-1, *(1,) * (like.dim() - 1))
