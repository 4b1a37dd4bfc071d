"""Trains the micro models' autoencoder.

The loss is L1 on pixels and on their differences, with a light pull of the latents towards N(0, 1).

The engine trains no autoencoders, so this stands here. Both micro models have the same one; only the scale that their layouts prescribe
differs, and is folded into the convolutions next to the latents.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from engine import seeds
from engine.models.specs import VaeSpec
from recipes.micro_base import drawing, scenes
from recipes.micro_base.snapshot import Snapshot
from recipes.micro_base.weights import network

BATCH = 16  # crops; of whole pictures half as many
PICTURES = 12000  # a third of them scenes, a third clutter, a third figures
CROP = 32  # pixels: a quarter of a picture takes a quarter of the time
KL = 2e-4  # weight of the divergence per latent number


def pictures(seed: int, count: int) -> Tensor:
    """What the autoencoder is trained on: uint8 [count, 3, 64, 64]."""
    rng = random.Random(seeds.derived(seed, "autoencoder", "pictures"))
    third = count // 3
    made = [drawing.draw(scene, rng) for scene in scenes.drawn(rng, count - 2 * third)]
    made += [draw(rng) for draw in (drawing.clutter, drawing.figure) for _ in range(third)]
    return torch.stack([as_tensor(picture) for picture in made])


def as_tensor(picture: Image.Image) -> Tensor:
    """uint8 [3, H, W]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@dataclass(frozen=True)
class Stage:
    """A part of the training."""

    name: str
    steps: int
    rate: float  # the learning rate, half a cosine down from here
    side: int  # pixels of the crops
    decoder_only: bool


STAGES = (
    Stage("crops", 1900, 7e-4, CROP, decoder_only=False),
    Stage("whole", 2000, 7e-4, drawing.SIDE, decoder_only=False),
    Stage("decoder", 5000, 7e-4, drawing.SIDE, decoder_only=True),  # the latents stay what they are, so the U-Nets need not wait for it
)


def train(spec: VaeSpec, seed: int, work: Path, device: torch.device, bf16: bool, say: Callable[[str], None]) -> AutoencoderKL:
    """Train it, continuing from the snapshots in `work`; float32, on the device. Its latents have mean 0 and deviation 1 / spec.scale."""
    vae = network(spec, "vae", seed).to(device)
    assert isinstance(vae, AutoencoderKL)
    data = pictures(seed, PICTURES).to(device)
    some = _levels(data[torch.linspace(0, len(data) - 1, 256).long()])
    head_start(vae, some)
    for stage in STAGES:
        run(stage, vae, data, seed, work / f"{stage.name}.pt", bf16, say)
    normalise(vae, some, spec.scale)
    return vae


def run(stage: Stage, vae: AutoencoderKL, data: Tensor, seed: int, snapshot: Path, bf16: bool, say: Callable[[str], None]) -> None:
    """One stage, from its snapshot where there is one."""
    vae.train().requires_grad_(True)
    if stage.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    parameters = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=stage.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    kept = Snapshot(snapshot, {"vae": vae}, optimizer)
    running = None
    for step in range(kept.restore(), stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * falling(step, stage.steps, 200)
        with torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
            loss = _loss(vae, _batch(data, seed, step, stage), seeds.derived(seed, f"{stage.name} noise", step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            say(f"{stage.name}: step {step + 1} of {stage.steps}, loss {running:.4f}")
        if kept.due() or step + 1 == stage.steps:
            kept.write(step + 1)
    vae.eval().requires_grad_(False)


def falling(step: int, steps: int, warmup: int) -> float:
    """The share of the learning rate at a step: half a cosine from 1 down to 0, rising over the first `warmup` steps."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def head_start(vae: AutoencoderKL, pixels: Tensor) -> None:
    """Fit what closes encoder and decoder by least squares, so that training starts from blocks of the right colours.

    The latents become each cell's mean colour, and how much brighter its right half is than its left.
    """
    slope = torch.linspace(-1, 1, 8).repeat(pixels.shape[-1] // 8)
    wanted = torch.cat([F.avg_pool2d(pixels, 8), F.avg_pool2d((pixels * slope).mean(1, keepdim=True), 8)], 1)
    vae.encoder.conv_out.weight.zero_()
    vae.quant_conv.weight.copy_(torch.eye(8)[:, :, None, None])
    _fit(vae.encoder.conv_out, lambda: vae.encoder(pixels), wanted)
    latents = vae.encode(pixels).latent_dist.mean
    _fit(vae.decoder.conv_out, lambda: vae.decode(latents), pixels)


def _fit(convolution: nn.Conv2d, run: Callable[[], object], wanted: Tensor) -> None:
    """Set the first outputs' weights, of the middle cell alone, to the regression of `wanted` on what the convolution gets in `run`."""
    seen: list[Tensor] = []
    hook = convolution.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    run()
    hook.remove()
    (given,) = seen
    assert convolution.bias is not None
    rows = given.movedim(1, -1).flatten(0, -2).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
    targets = wanted.movedim(1, -1).flatten(0, -2).double()
    nearly_zero = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype)
    solution = torch.linalg.solve(rows.t() @ rows + nearly_zero, rows.t() @ targets).float().t()
    convolution.weight[: len(solution)] = 0.0
    convolution.weight[: len(solution), :, 1, 1] = solution[:, :-1]
    convolution.bias[: len(solution)] = solution[:, -1]


def _batch(data: Tensor, seed: int, step: int, stage: Stage) -> Tensor:
    """Pictures of one step, [-1, 1]: crops in the beginning, mirrored half the time."""
    rng = random.Random(seeds.derived(seed, stage.name, step))
    chosen = data[[rng.randrange(len(data)) for _ in range(BATCH if stage.side < drawing.SIDE else BATCH // 2)]]
    left, top = (rng.randrange(drawing.SIDE - stage.side + 1) for _ in range(2))
    chosen = chosen[:, :, top : top + stage.side, left : left + stage.side]
    if rng.random() < 0.5:
        chosen = chosen.flip(3)
    return _levels(chosen)


def _levels(pictures: Tensor) -> Tensor:
    """uint8 -> -1..1."""
    return pictures.float() / 127.5 - 1


def _loss(vae: AutoencoderKL, pixels: Tensor, noise_seed: int) -> Tensor:
    latents = vae.encode(pixels).latent_dist
    noise = torch.randn(latents.mean.shape, generator=torch.Generator().manual_seed(noise_seed))
    made = vae.decode(latents.mean + latents.std * noise.to(pixels.device)).sample
    error = F.l1_loss(made, pixels)
    edges = sum(F.l1_loss(made.diff(dim=axis), pixels.diff(dim=axis)) for axis in (2, 3))
    divergence = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
    return error + edges + KL * divergence


@torch.no_grad()
def normalise(vae: AutoencoderKL, pixels: Tensor, scale: float) -> None:
    """Shift and stretch each latent channel to mean 0 and standard deviation 1 / scale, by changing the two convolutions beside it."""
    means = vae.encode(pixels).latent_dist.mean
    shift = means.mean((0, 2, 3))
    stretch = 1 / (means.std((0, 2, 3)) * scale)
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(shift)
    before.weight[:channels] *= stretch[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - shift) * stretch
    before.bias[channels:] += 2 * stretch.log()
    after.bias += after.weight[:, :, 0, 0] @ shift
    after.weight /= stretch[None, :, None, None]
