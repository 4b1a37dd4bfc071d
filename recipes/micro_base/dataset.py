"""What U-Nets and text encoders learn from: latents and their captions. The latents are of scenes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine import seeds
from engine.data.captions import CaptionOptions, render
from engine.models.vae import encode_images
from recipes.micro_base import drawing, scenes
from recipes.micro_base.autoencoder import as_tensor
from recipes.micro_base.scenes import Scene

PICTURES = 16000
MISTAKEN = 0.08  # the share of pictures whose caption has one word wrong
CAPTIONS = CaptionOptions(enable_wildcard=True, shuffle_caption=True, caption_tag_dropout_rate=0.05, caption_dropout_rate=0.1)


@dataclass(frozen=True)
class Data:
    """The pictures as the autoencoder sees them, with the text of their caption files: a line of tags and a sentence."""

    mean: Tensor  # [N, 4, 8, 8], unscaled
    std: Tensor
    captions: tuple[str, ...]

    def caption(self, item: int, rng: random.Random) -> str:
        """The caption of one picture, drawn anew every time that it is shown."""
        return render(self.captions[item], CAPTIONS, rng)


def prepare(vae: nn.Module, seed: int, device: torch.device) -> Data:
    """Draw the pictures and encode them, and describe them as people do, who err: that is what guidance makes up for."""
    rng = random.Random(seeds.derived(seed, "pictures"))
    shown = scenes.drawn(rng, PICTURES)
    means, stds = [], []
    for start in range(0, PICTURES, 64):
        pixels = torch.stack([as_tensor(drawing.draw(scene, rng)) for scene in shown[start : start + 64]])
        mean, std = encode_images(vae, pixels.to(device).float() / 127.5 - 1)
        means.append(mean.cpu())
        stds.append(std.cpu())
    return Data(torch.cat(means), torch.cat(stds), tuple(captions(shown, seed)))


def captions(shown: Sequence[Scene], seed: int) -> Iterator[str]:
    """The caption files of pictures of these scenes, some of them mistaken."""
    rng = random.Random(seeds.derived(seed, "mistakes"))
    for scene in shown:
        told = scenes.mistaken(scene, rng) if rng.random() < MISTAKEN else scene
        yield told.caption_file()
