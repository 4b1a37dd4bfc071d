"""The networks of each family's own base model: its usual sizes."""

from __future__ import annotations

from collections.abc import Mapping

from engine.models.layouts import SD1, SDXL
from engine.models.specs import ClipSpec, Spec, UnetSpec, VaeSpec

_CLIP_L = ClipSpec(width=768, layers=12, heads=12, mlp=3072, activation="quick_gelu")
_SD1: dict[str, Spec] = {
    "text_encoder": _CLIP_L,
    "unet": UnetSpec(4, 4, (320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, 768, (8, 8, 8, 8), linear_projection=False),
    "vae": VaeSpec(3, 4, (128, 256, 512, 512), 2, SD1.scale),
}
_SDXL: dict[str, Spec] = {
    "text_encoder": _CLIP_L,
    "text_encoder_2": ClipSpec(width=1280, layers=32, heads=20, mlp=5120, activation="gelu", projection=1280),
    "unet": UnetSpec(
        4, 4, (320, 640, 1280), 2, (0, 2, 10), 10, 2048, (5, 10, 20), linear_projection=True, label_width=2816, size_width=256
    ),
    "vae": VaeSpec(3, 4, (128, 256, 512, 512), 2, SDXL.scale),
}
USUAL: Mapping[str, Mapping[str, Spec]] = {SD1.name: _SD1, SDXL.name: _SDXL}  # family -> part -> the network
