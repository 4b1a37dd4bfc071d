"""Pictures to latents and back, through an autoencoder. Latents here are the VAE's own; `LatentSpec` scales them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from engine.models import networks
from engine.models.recognise import recognise_vae

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@torch.no_grad()
def encode_images(vae: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels [B, 3, H, W] in [-1, 1] -> mean and standard deviation of the latents, each float32 [B, C, H/8, W/8], unscaled."""
    model = cast("AutoencoderKL", vae)
    distribution = model.encode(pixels.to(model.device, model.dtype)).latent_dist
    return distribution.mean.float(), distribution.std.float()


@torch.no_grad()
def decode_images(vae: nn.Module, latents: Tensor) -> Tensor:
    """Unscaled latents [B, C, h, w] -> pixels float32 [B, 3, 8h, 8w], clamped to [-1, 1]."""
    model = cast("AutoencoderKL", vae)
    pixels: Tensor = model.decode(latents.to(model.device, model.dtype)).sample
    return pixels.float().clamp(-1, 1)


def load_vae(path: Path, family: str, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
    """The autoencoder that the setting `vae` names: from a checkpoint, a VAE file, a diffusers model or a VAE folder.

    Raises UserError for anything else, and for one of another family as far as it can be told.
    """
    return networks.load(recognise_vae(path, family), dtype, device)
