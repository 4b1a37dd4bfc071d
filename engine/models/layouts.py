"""Where each family keeps its networks: prefixes in a file, or folders. A table; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.models.keymap import Kind
from engine.models.specs import Activation, Spec


@dataclass(frozen=True)
class PartRow:
    """One network of a family. In the diffusers layout its folder is its name."""

    name: str
    kind: Kind  # how its names are mapped in the original layout
    prefixes: tuple[str, ...]  # in a single file; the first is the one that is written
    activation: Activation = "quick_gelu"  # of a text encoder, where no configuration tells
    pad: str = "<|endoftext|>"  # the tokenizer's padding, for the diffusers layout
    tokenizer: str = ""  # the tokenizer's folder
    model_class: str = ""  # in transformers or diffusers

    @property
    def is_text(self) -> bool:
        """Whether the network encodes text."""
        return self.kind in ("clip", "open_clip")


@dataclass(frozen=True)
class FamilyLayout:
    """One family on disk. `parts` stand in the order in which they are described: text encoders before the U-Net that they condition."""

    name: str
    title: str
    parts: tuple[PartRow, ...]
    scale: float  # of the latents; tells the families' autoencoders apart, whose shapes are equal
    pipeline: str

    def part(self, name: str) -> PartRow:
        """The row of one network."""
        return next(row for row in self.parts if row.name == name)


@dataclass(frozen=True)
class PartSource:
    """Where one network's weights are, and what the network is."""

    path: Path  # a file, or a network's folder in the diffusers layout
    prefix: str  # in front of its names
    kind: Kind
    layout: Literal["original", "diffusers"]  # whose names it has
    spec: Spec


_CLIP_L = PartRow(
    "text_encoder", "clip", ("conditioner.embedders.0.transformer.",), tokenizer="tokenizer", model_class="CLIPTextModel",
)  # fmt: skip
_UNET = PartRow("unet", "unet", ("model.diffusion_model.",), model_class="UNet2DConditionModel")
VAE = PartRow("vae", "vae", ("first_stage_model.", "vae."), model_class="AutoencoderKL")

SD1 = FamilyLayout(
    "sd1",
    "Stable Diffusion 1.x",
    (
        PartRow("text_encoder", "clip", ("cond_stage_model.transformer.",), tokenizer="tokenizer", model_class="CLIPTextModel"),
        _UNET,
        VAE,
    ),
    0.18215,
    "StableDiffusionPipeline",
)
SDXL = FamilyLayout(
    "sdxl",
    "Stable Diffusion XL",
    (
        _CLIP_L,
        PartRow(
            "text_encoder_2", "open_clip", ("conditioner.embedders.1.model.",), "gelu", "!", "tokenizer_2", "CLIPTextModelWithProjection",
        ),
        _UNET,
        VAE,
    ),
    0.13025,
    "StableDiffusionXLPipeline",
)  # fmt: skip
LAYOUTS = (SD1, SDXL)
