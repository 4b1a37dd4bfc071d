"""The samplers by the names that sd-scripts gives them. They are diffusers' schedulers, imported when one is made."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import UserError, find_row

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SPACING = "timestep_spacing"
_K_SPACED = MappingProxyType({_SPACING: "linspace"})
_SD_SPACED = MappingProxyType({_SPACING: "leading", "steps_offset": 1, "set_alpha_to_one": False})


class Scheduler(Protocol):
    """What a picture is sampled with. Stateful: one picture batch at a time, after `set_timesteps`."""

    timesteps: Tensor  # [n], from noisy to clean
    init_noise_sigma: float | Tensor  # N(0, 1) noise is multiplied by it to start with

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None: ...

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **options: Any) -> Any: ...


@dataclass(frozen=True)
class SamplerRow:
    """One sampler: its diffusers class and the arguments that differ from that class's defaults."""

    name: str
    scheduler: str  # class name in diffusers
    help: str
    aliases: tuple[str, ...] = ()
    karras: bool = True  # whether the class can use Karras noise levels
    noisy: bool = False  # whether `step` draws noise, and so takes a `generator`
    arguments: Mapping[str, object] = field(default_factory=lambda: _K_SPACED)


SAMPLERS: tuple[SamplerRow, ...] = (
    SamplerRow(
        "ddim", "DDIMScheduler", "DDIM without added noise", karras=False, arguments=MappingProxyType({**_SD_SPACED, "clip_sample": False})
    ),
    SamplerRow(
        "pndm", "PNDMScheduler", "PLMS, linear multistep", karras=False, arguments=MappingProxyType({**_SD_SPACED, "skip_prk_steps": True})
    ),
    SamplerRow("lms", "LMSDiscreteScheduler", "linear multistep of order 4", ("k_lms",)),
    SamplerRow("euler", "EulerDiscreteScheduler", "Euler steps", ("k_euler",)),
    SamplerRow("euler_a", "EulerAncestralDiscreteScheduler", "Euler steps with noise added back", ("k_euler_a",), karras=False, noisy=True),
    SamplerRow("heun", "HeunDiscreteScheduler", "Heun's second order steps; two network calls a step"),
    SamplerRow("dpm_2", "KDPM2DiscreteScheduler", "DPM-Solver-2; two network calls a step", ("k_dpm_2",)),
    SamplerRow("dpm_2_a", "KDPM2AncestralDiscreteScheduler", "DPM-Solver-2 with noise added back", ("k_dpm_2_a",), noisy=True),
    SamplerRow(
        "dpmsolver",
        "DPMSolverMultistepScheduler",
        "DPM-Solver, multistep of order 2",
        arguments=MappingProxyType({**_K_SPACED, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ),
    SamplerRow("dpmsolver++", "DPMSolverMultistepScheduler", "DPM-Solver++ (2M), multistep of order 2"),
    SamplerRow(
        "dpmsingle",
        "DPMSolverSinglestepScheduler",
        "DPM-Solver++ (2S), single step of order 2",
        arguments=MappingProxyType({"lower_order_final": True}),
    ),
)


def row(name: str) -> SamplerRow:
    """The sampler of this name or alias. Raises UserError for any other."""
    return find_row(SAMPLERS, name, "sampler", "sample_sampler")


def make(name: str, prediction: str = "epsilon", karras: bool = False, zero_terminal_snr: bool = False) -> Scheduler:
    """A new scheduler over the noise schedule that the model is trained with.

    `prediction` is "epsilon" or "v_prediction". Raises UserError for an unknown name, and for Karras noise levels where the sampler has
    none or the schedule ends in pure noise.
    """
    import diffusers

    chosen = row(name)
    options = {**chosen.arguments, "trained_betas": _betas(zero_terminal_snr), "prediction_type": prediction}
    if karras:
        if not chosen.karras:
            able = ", ".join(other.name for other in SAMPLERS if other.karras)
            raise UserError(f"the sampler `{name}` has no Karras variant", f"these have one: {able}", where="sample_karras")
        if zero_terminal_snr:  # most levels would fall between the last two timesteps, where diffusers' solvers lose their place
            raise UserError("Karras noise levels do not suit a zero-terminal model", "leave sample_karras out", where="sample_karras")
        options["use_karras_sigmas"] = True
    if zero_terminal_snr and _SPACING in options:
        options[_SPACING] = "trailing"  # the first step must start at the last t, which alone is pure noise (arXiv 2305.08891, section 3.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # "dpmsolver" is announced to leave diffusers 1.0; the version is pinned
        scheduler: Scheduler = getattr(diffusers, chosen.scheduler)(**options)
    return scheduler


def _betas(zero_terminal_snr: bool) -> list[float]:
    """The schedule as diffusers wants it. At zero terminal SNR the last level keeps a trace of signal, or its noise level were infinite."""
    import torch

    from engine.diffusion.schedule import alphas_cumprod

    alphas = alphas_cumprod(zero_terminal_snr)
    if zero_terminal_snr:
        alphas[-1] = 2.0**-24
    return (1.0 - alphas / torch.cat([alphas.new_ones(1), alphas[:-1]])).tolist()
