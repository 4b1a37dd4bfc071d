"""Stable Diffusion XL base: two text encoders, pooled text, size numbers.

The pooled vector and the picture's size are extra conditioning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from engine.models import networks, saving, sites, text, tokens
from engine.models.family import Checkpoint, Cond, LatentSpec, Prediction, Site, Target
from engine.models.layouts import SDXL

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class StableDiffusionXL:
    """The family `sdxl`; see `family.Family`."""

    name = "sdxl"
    latent = LatentSpec(channels=4, stride=8, scale=(SDXL.scale,))
    parts: tuple[str, ...] = ("unet", "vae", "text_encoder", "text_encoder_2")
    text_parts = SDXL.text_parts
    uses_clip_skip = False
    architecture = "stable-diffusion-xl-v1-base"
    implementation = "https://github.com/Stability-AI/generative-models"

    def base_model_version(self, prediction: Prediction) -> str:
        """kohya writes the same for every prediction."""
        return "sdxl_base_v1-0"

    def vae_dtype(self, wanted: torch.dtype, no_half_vae: bool = False) -> torch.dtype:
        """Never fp16, in which SDXL's autoencoder makes NaN: bf16 where that is wanted, else fp32."""
        return torch.float32 if SDXL.vae_exact(wanted == torch.float16, no_half_vae) else wanted

    def load(self, checkpoint: Checkpoint, part: str, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
        """One network, frozen and in eval mode."""
        return networks.load(checkpoint.networks[part], dtype, device)

    def tokenize(self, captions: Sequence[str], max_token_length: int | None = None) -> Tensor:
        """Ids int64 [2, B, N]: padded with the end token for the first encoder, with 0 for the second."""
        tokenizer = tokens.tokenizer()
        return torch.tensor([tokenizer.encode(captions, max_token_length, pad).ids for pad in (tokens.END, 0)])

    def encode_text(self, encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int | None = None) -> Cond:
        """Both encoders' states before their last layer, side by side [B, N, 2048], and the second's pooled output [B, 1280].

        `clip_skip` has no meaning here, as in kohya's trainer (`uses_clip_skip`).
        """
        first = text.penultimate(encoders["text_encoder"], ids[0])
        second, pooled = text.penultimate_and_pooled(encoders["text_encoder_2"], ids[1])
        return Cond(torch.cat([first, second], dim=-1), pooled)

    def pack(self, cond: Cond) -> dict[str, Tensor]:
        """hidden [B, N, D], pooled [B, P]."""
        return {"hidden": cond.hidden, "pooled": _pooled(cond)}

    def unpack(self, named: Mapping[str, Tensor]) -> Cond:
        """The inverse of `pack`."""
        return Cond(named["hidden"], named["pooled"])

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        """The U-Net's output [B, 4, h, w], in its dtype. `size` [B, 6] is needed."""
        if size is None:
            raise ValueError("SDXL is conditioned on the picture's size")
        model = cast("UNet2DConditionModel", unet)
        dtype = next(unet.parameters()).dtype
        added = {"text_embeds": _pooled(cond).to(dtype), "time_ids": size.to(noisy.device)}
        hidden = cond.hidden.to(dtype)
        output: Tensor = model(noisy.to(dtype), t, encoder_hidden_states=hidden, added_cond_kwargs=added, return_dict=False)[0]
        return output

    def sites(self, part: str, network: nn.Module) -> list[Site]:
        """In the full-size U-Net 722 of transformers, 66 more of residual blocks, 6 ends, and norms; 72 and 192 in the encoders."""
        return sites.sites(SDXL.part(part), network)

    def save(self, parts: Mapping[str, nn.Module], target: Target) -> None:
        """Write a whole checkpoint."""
        saving.save(SDXL, self.architecture, parts, target)


def _pooled(cond: Cond) -> Tensor:
    if cond.pooled is None:
        raise ValueError("SDXL's conditioning has a pooled text vector")
    return cond.pooled
