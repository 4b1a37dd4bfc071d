"""Stable Diffusion 1.x: one CLIP text encoder, a U-Net, an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from engine.models import networks, saving, sites, text, tokens
from engine.models.family import Checkpoint, Cond, LatentSpec, Prediction, Site, Target
from engine.models.layouts import SD1

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class StableDiffusion:
    """The family `sd1`; see `family.Family`."""

    name = "sd1"
    latent = LatentSpec(channels=4, stride=8, scale=(SD1.scale,))
    parts: tuple[str, ...] = ("unet", "vae", "text_encoder")
    text_parts = SD1.text_parts
    uses_clip_skip = True
    architecture = "stable-diffusion-v1"
    implementation = "diffusers"

    def base_model_version(self, prediction: Prediction) -> str:
        """`sd_v1`, and `sd_v1_v` for v-prediction, as kohya writes them."""
        return "sd_v1_v" if prediction == "v_prediction" else "sd_v1"

    def vae_dtype(self, wanted: torch.dtype, no_half_vae: bool = False) -> torch.dtype:
        """SD1's autoencoder is accurate in half precision."""
        return torch.float32 if SD1.vae_exact(wanted == torch.float16, no_half_vae) else wanted

    def load(self, checkpoint: Checkpoint, part: str, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
        """One network, frozen and in eval mode."""
        return networks.load(checkpoint.networks[part], dtype, device)

    def tokenize(self, captions: Sequence[str], max_token_length: int | None = None) -> Tensor:
        """Ids int64 [1, B, N], padded with the end token."""
        return torch.tensor([tokens.tokenizer().encode(captions, max_token_length).ids])

    def encode_text(self, encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int | None = None) -> Cond:
        """The states of the chosen layer through the final norm: hidden [B, N, 768]."""
        return Cond(text.final(encoders["text_encoder"], ids[0], clip_skip))

    def pack(self, cond: Cond) -> dict[str, Tensor]:
        """hidden [B, N, D]."""
        return {"hidden": cond.hidden}

    def unpack(self, named: Mapping[str, Tensor]) -> Cond:
        """The inverse of `pack`."""
        return Cond(named["hidden"])

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        """The U-Net's output [B, 4, h, w], in its dtype. `size` has no meaning here."""
        model = cast("UNet2DConditionModel", unet)
        dtype = next(unet.parameters()).dtype
        output: Tensor = model(noisy.to(dtype), t, encoder_hidden_states=cond.hidden.to(dtype), return_dict=False)[0]
        return output

    def sites(self, part: str, network: nn.Module) -> list[Site]:
        """In the full-size U-Net 192 of transformers, 86 more of residual blocks, 4 ends, and norms; 72 in the encoder."""
        return sites.sites(SD1.part(part), network)

    def save(self, parts: Mapping[str, nn.Module], target: Target) -> None:
        """Write a whole checkpoint."""
        saving.save(SD1, self.architecture, parts, target)
