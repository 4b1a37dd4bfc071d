"""Loaded networks and conditioning -> the latents of one picture.

Latents and guidance are float32; the network runs in its own dtype, which `family.predict` sees to. All randomness comes from a CPU
generator made from the picture's seed: a seed repeats on every device and whatever was made before it, and the process's own random
state is left alone. The first noise is what `torch.manual_seed(seed)` and `torch.randn` give on the CPU, the noise that ComfyUI and
diffusers start from, and the web UI with its CPU setting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.diffusion import samplers
from engine.generation.prompt import Shot
from engine.models.family import Cond, Family, Prediction

Progress = Callable[[int, int], None]  # steps done, steps in all; may raise to stop


@dataclass(frozen=True)
class Sampled:
    """The network that is sampled from, ready on its device, and how it was trained."""

    family: Family
    unet: nn.Module
    device: torch.device
    prediction: Prediction = "epsilon"
    zero_terminal_snr: bool = False


def first_noise(seed: int, shape: Sequence[int]) -> tuple[Tensor, torch.Generator]:
    """Unit noise, float32 on the CPU, and the generator, which then gives what ancestral samplers add."""
    source = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(tuple(shape), generator=source), source


@torch.no_grad()
def generate(network: Sampled, shot: Shot, cond: Cond, progress: Progress | None = None) -> Tensor:
    """The latents of one picture, in the network's units: float32 [C, h, w] on the CPU.

    `cond` has leading dimension 2: negative prompt, prompt. Guidance runs both as one batch; at a scale of 1 the prompt runs alone.
    Raises UserError for an unknown sampler, or Karras noise levels where it has none.
    """
    latent = network.family.latent
    scheduler = samplers.make(shot.sampler, network.prediction, shot.karras, network.zero_terminal_snr)
    noise, source = first_noise(shot.seed, (1, latent.channels, shot.height // latent.stride, shot.width // latent.stride))
    scheduler.set_timesteps(shot.steps, device=network.device)
    latents = noise.to(network.device) * scheduler.init_noise_sigma
    predict = _guided(network, shot, cond)
    options = {"generator": source} if samplers.row(shot.sampler).noisy else {}
    total = len(scheduler.timesteps)
    for number, t in enumerate(scheduler.timesteps, start=1):
        prediction = predict(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(prediction, t, latents, return_dict=False, **options)[0]
        if progress is not None:
            progress(number, total)
    return latents[0].float().cpu()


def _guided(network: Sampled, shot: Shot, cond: Cond) -> Callable[[Tensor, Tensor], Tensor]:
    """The guided prediction, float32 [1, C, h, w], of a noisy sample [1, C, h, w] at a scalar t.

    negative + scale * (prompt - negative) (Ho and Salimans 2022, arXiv 2207.12598, in the form all samplers use).
    """
    family, guided = network.family, shot.scale != 1.0
    rows = slice(0, 2) if guided else slice(1, 2)
    batch = 2 if guided else 1
    ready = family.unpack({name: tensor[rows].to(network.device) for name, tensor in family.pack(cond).items()})
    size = torch.tensor([[shot.height, shot.width, 0, 0, shot.height, shot.width]] * batch, device=network.device)

    def predict(sample: Tensor, t: Tensor) -> Tensor:
        noisy = sample.expand(batch, *sample.shape[1:])
        out = family.predict(network.unet, noisy, t.float().to(network.device).expand(batch), ready, size).float()
        if not guided:
            return out
        negative, prompt = out.chunk(2)
        return negative + shot.scale * (prompt - negative)

    return predict


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in eval mode inside the block; every module gets its own mode back, whatever mixture there was."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
