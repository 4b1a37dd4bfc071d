"""What the micro models are: real layouts and words, narrow networks. The vocabulary is the real one too.

The layouts fix group normalisation at 32 groups. Where a network ends in one over 32 channels, each channel alone is brought to mean 0, and
the network cannot say how bright a flat picture is; so the first level of every U-Net and autoencoder has 64.
"""

from __future__ import annotations

from engine.models.specs import ClipSpec, Spec, UnetSpec, VaeSpec

_ENCODER = ClipSpec(width=40, layers=2, heads=1, mlp=160, activation="quick_gelu")

MICRO_SD: dict[str, Spec] = {
    "text_encoder": _ENCODER,
    "unet": UnetSpec(
        in_channels=4, out_channels=4, widths=(64, 64, 64, 64), layers=2, depths=(1, 1, 1, 0), mid_depth=1, context=40,
        heads=(8, 8, 8, 8), linear_projection=False,
    ),
    "vae": VaeSpec(in_channels=3, latent_channels=4, widths=(64, 32, 32, 64), layers=2, scale=0.18215),
}  # fmt: skip

MICRO_SDXL: dict[str, Spec] = {
    "text_encoder": ClipSpec(width=32, layers=2, heads=1, mlp=128, activation="quick_gelu"),
    "text_encoder_2": ClipSpec(width=64, layers=2, heads=1, mlp=256, activation="gelu", projection=64),
    "unet": UnetSpec(
        in_channels=4, out_channels=4, widths=(64, 64, 64), layers=2, depths=(0, 2, 4), mid_depth=4, context=96, heads=(1, 1, 1),
        linear_projection=True, label_width=64 + 6 * 32, size_width=32,
    ),
    "vae": VaeSpec(in_channels=3, latent_channels=4, widths=(64, 32, 32, 64), layers=2, scale=0.13025),
}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Spec]]] = {"micro-sd": ("sd1", MICRO_SD), "micro-sdxl": ("sdxl", MICRO_SDXL)}
