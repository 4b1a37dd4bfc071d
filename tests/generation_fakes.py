"""Stand-ins for the tests of `engine.generation`: a family and networks of a few hundred weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from engine.diffusion.schedule import alphas_cumprod
from engine.generation import decoding
from engine.generation.generate import Sampled
from engine.generation.prompt import Shot
from engine.models.family import Cond, LatentSpec
from engine.models.tokens import tokenizer

SHOT = Shot("a cat", "a dog", 64, 32, 42, 4, 3.0, "euler_a", False, 1.0)
CPU = torch.device("cpu")


class Tiny:
    """A family of one small network; `calls` records what it was asked."""

    name = "tiny"
    latent = LatentSpec(4, 8, (0.5,), (0.1,))
    parts, text_parts = ("unet", "vae", "text_encoder"), ("text_encoder",)

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Cond, Tensor | None]] = []

    def tokenize(self, captions: Sequence[str], max_token_length: int | None = None) -> Tensor:
        return torch.tensor([tokenizer().encode(captions, max_token_length).ids])

    def encode_text(self, encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int | None = None) -> Cond:
        hidden = encoders["text_encoder"](ids[0])
        return Cond(hidden, hidden.mean(1))

    def pack(self, cond: Cond) -> dict[str, Tensor]:
        assert cond.pooled is not None
        return {"hidden": cond.hidden, "pooled": cond.pooled}

    def unpack(self, named: Mapping[str, Tensor]) -> Cond:
        return Cond(named["hidden"], named["pooled"])

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        assert t.dtype == torch.float32 and t.shape == noisy.shape[:1]
        self.calls.append((noisy, t, cond, size))
        return unet(noisy) * 0.5 + cond.hidden.mean((1, 2)).view(-1, 1, 1, 1).to(noisy.dtype)


class Oracle(Tiny):
    """The perfect network for one picture: whatever the sampler, it must end there."""

    def __init__(self, clean: Tensor, prediction: str, zero_terminal: bool) -> None:
        super().__init__()
        self.clean, self.prediction = clean, prediction
        alphas = alphas_cumprod(zero_terminal)
        if zero_terminal:
            alphas[-1] = 2.0**-24
        self.log_ratio = (alphas / (1 - alphas)).log()

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        low = t.double().floor().long().clamp(0, 998)
        log_ratio = torch.lerp(self.log_ratio[low], self.log_ratio[low + 1], t.double() - low)
        signal, spread = log_ratio.sigmoid().sqrt().view(-1, 1, 1, 1), (-log_ratio).sigmoid().sqrt().view(-1, 1, 1, 1)
        noise = (noisy.double() - signal * self.clean) / spread
        return (noise if self.prediction == "epsilon" else signal * noise - spread * self.clean).float()


class Adapter:
    """An adapter as a preview sees it."""

    def __init__(self, unet: nn.Module) -> None:
        self.strength, self.mode, self.log = 1.0, True, []
        unet.register_forward_hook(lambda module, args, out: self.change(out))

    def change(self, out: Tensor) -> Tensor:
        self.log.append((self.strength, self.mode))
        return out + self.strength * 0.3 if self.strength else out

    def train(self, mode: bool) -> None:
        self.mode = mode


class Vae(nn.Module):
    """Latents to pixels by repetition; `tiled` tells what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.tile_sample_min_size, self.tile_latent_min_size = 1024, 128
        self.tiled: list[tuple[str, int, int]] = []

    def enable_tiling(self) -> None:
        self.tiled.append(("on", self.tile_sample_min_size, self.tile_latent_min_size))

    def disable_tiling(self) -> None:
        self.tiled.append(("off", self.tile_sample_min_size, self.tile_latent_min_size))


def tiny_vae(monkeypatch: pytest.MonkeyPatch) -> Vae:
    """The VAE, and decoding that runs it."""

    def decode_images(network: nn.Module, latents: Tensor) -> Tensor:
        return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)

    monkeypatch.setattr(decoding, "decode_images", decode_images)
    return Vae()


def network(family: Tiny | None = None, **changes: object) -> Sampled:
    torch.manual_seed(0)
    unet = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.5))
    return dataclasses.replace(Sampled(family or Tiny(), unet, CPU), **changes)  # type: ignore[arg-type]


def conditions(low: float = 0.0, high: float = 0.1) -> Cond:
    hidden = torch.stack([torch.full((77, 6), low), torch.full((77, 6), high)])
    return Cond(hidden, hidden.mean(1))
