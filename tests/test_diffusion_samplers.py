"""Every sampler against a known answer: for Gaussian data the perfect denoiser and the whole path from noise are closed formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.diffusion import samplers
from engine.diffusion.samplers import SAMPLERS, SamplerRow
from engine.diffusion.schedule import alphas_cumprod
from engine.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers", "ignore::DeprecationWarning:numpy")

MEAN, SPREAD = 0.7, 0.5
SETTINGS = [("epsilon", False), ("v_prediction", False), ("v_prediction", True)]
PLAIN = [(row, False, *setting) for row in SAMPLERS for setting in SETTINGS]
KARRAS = [(row, True, *setting) for row in SAMPLERS if row.karras for setting in SETTINGS[:2]]
COMBINATIONS = pytest.mark.parametrize(
    ("row", "karras", "prediction", "zero_terminal_snr"),
    PLAIN + KARRAS,
    ids=[
        f"{row.name}{'-karras' if karras else ''}-{prediction}{'-zero' if zero else ''}" for row, karras, prediction, zero in PLAIN + KARRAS
    ],
)


def levels(t: float, zero_terminal_snr: bool) -> tuple[float, float]:
    """Signal and noise at a t that may lie between two timesteps, as k-diffusion's samplers ask for."""
    alphas = alphas_cumprod(zero_terminal_snr)
    alphas[-1] = max(alphas[-1].item(), 2.0**-24)
    log = float(np.interp(t, np.arange(1000), alphas.log().numpy()))
    return math.exp(log / 2), math.sqrt(1 - math.exp(log))


def sample(row: SamplerRow, karras: bool, prediction: str, zero_terminal_snr: bool, steps: int) -> tuple[Tensor, Tensor]:
    """What comes out for a grid of noise, and what should: the probability flow's end, mean + spread * (how far from the mean it began)."""
    scheduler = samplers.make(row.name, prediction, karras, zero_terminal_snr)
    scheduler.set_timesteps(steps)
    source = torch.Generator().manual_seed(1)
    noise = torch.randn(1, 1, 4000, 1, generator=source)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t)
        signal, spread = levels(float(t), zero_terminal_snr)
        x0 = MEAN + signal * SPREAD**2 / (signal**2 * SPREAD**2 + spread**2) * (seen - signal * MEAN)
        eps = (seen - signal * x0) / spread
        output = eps if prediction == "epsilon" else signal * eps - spread * x0
        options = {"generator": source} if row.noisy else {}
        x = scheduler.step(output, t, x, return_dict=False, **options)[0]
    signal, spread = levels(999, zero_terminal_snr)
    start = (noise - signal * MEAN) / math.sqrt(signal**2 * SPREAD**2 + spread**2)
    return x, MEAN + SPREAD * start


@COMBINATIONS
def test_it_arrives(row: SamplerRow, karras: bool, prediction: str, zero_terminal_snr: bool) -> None:
    few, many = (sample(row, karras, prediction, zero_terminal_snr, steps) for steps in (10, 40))
    for found, _ in (few, many):
        assert found.isfinite().all()
    if row.noisy:  # only the distribution is known
        assert many[0].mean().item() == pytest.approx(MEAN, abs=0.03)
        assert many[0].std().item() == pytest.approx(SPREAD, rel=0.13)
        return
    early, late = ((found - exact).abs().mean().item() for found, exact in (few, many))
    assert late < 0.1 * SPREAD
    assert late < 0.5 * early, "four times the steps, at most half the error"


def test_the_names_of_sd_scripts() -> None:
    names = {word for row in SAMPLERS for word in (row.name, *row.aliases)}
    plain = {"ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++", "dpmsingle"}
    assert names == plain | {"k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"}
    assert samplers.row("k_euler_a") is samplers.row("euler_a")


def test_every_scheduler_trains_and_samples_on_one_schedule() -> None:
    for row in SAMPLERS:
        scheduler = samplers.make(row.name)
        torch.testing.assert_close(scheduler.alphas_cumprod.double(), alphas_cumprod(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("row", [row for row in SAMPLERS if row.name != "pndm"], ids=lambda row: row.name)
def test_a_zero_terminal_model_is_sampled_from_the_last_timestep(row: SamplerRow) -> None:
    scheduler = samplers.make(row.name, "v_prediction", zero_terminal_snr=True)
    scheduler.set_timesteps(8)
    assert scheduler.timesteps[0].item() == 999


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="there is no sampler `eulr_a`\nhint: Did you mean `euler_a`"):
        samplers.make("eulr_a")
    with pytest.raises(UserError, match="`euler_a` has no Karras variant\nhint: these have one: lms, euler, heun"):
        samplers.make("euler_a", karras=True)
    with pytest.raises(UserError, match="do not suit a zero-terminal model"):
        samplers.make("euler", "v_prediction", karras=True, zero_terminal_snr=True)
