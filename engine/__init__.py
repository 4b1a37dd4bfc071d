"""A portable trainer for Stable-Diffusion-family LoRAs and fine-tunes."""

__version__ = "0.1.0"
