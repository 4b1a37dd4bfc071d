"""Where each family keeps its networks: prefixes in a file, or folders. A table; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    adapter_prefix: str = ""  # how adapter files begin the names of its layers; empty where no layer takes an adapter
    adapter_names: Literal["original", "diffusers"] = "diffusers"  # the layout whose names they go on with

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
    vae_in_fp16: bool  # whether the autoencoder is accurate in it; else it makes NaN there
    scale: float  # of the latents; tells the families' autoencoders apart, whose shapes are equal
    pipeline: str

    def part(self, name: str) -> PartRow:
        """The row of one network."""
        return next(row for row in self.parts if row.name == name)

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The networks that encode text, in the order in which captions pass through them."""
        return tuple(row.name for row in self.parts if row.is_text)

    def vae_exact(self, fp16: bool, no_half_vae: bool) -> bool:
        """Whether the autoencoder is float32 whatever the run computes in; `fp16`: whether that is fp16."""
        return no_half_vae or (fp16 and not self.vae_in_fp16)


@dataclass(frozen=True)
class PartSource:
    """Where one network's weights are, and what the network is."""

    path: Path  # a file, or a network's folder in the diffusers layout
    prefix: str  # in front of its names
    kind: Kind
    layout: Literal["original", "diffusers"]  # whose names it has
    spec: Spec


_CLIP = PartRow("text_encoder", "clip", (), tokenizer="tokenizer", model_class="CLIPTextModel")
_UNET = PartRow("unet", "unet", ("model.diffusion_model.",), model_class="UNet2DConditionModel", adapter_prefix="lora_unet")
VAE = PartRow("vae", "vae", ("first_stage_model.", "vae."), model_class="AutoencoderKL")

SD1 = FamilyLayout(
    "sd1",
    "Stable Diffusion 1.x",
    (replace(_CLIP, prefixes=("cond_stage_model.transformer.",), adapter_prefix="lora_te"), _UNET, VAE),
    True,
    0.18215,
    "StableDiffusionPipeline",
)
SDXL = FamilyLayout(
    "sdxl",
    "Stable Diffusion XL",
    (
        replace(_CLIP, prefixes=("conditioner.embedders.0.transformer.",), adapter_prefix="lora_te1"),
        PartRow(
            "text_encoder_2", "open_clip", ("conditioner.embedders.1.model.",), "gelu", "!", "tokenizer_2", "CLIPTextModelWithProjection",
            adapter_prefix="lora_te2",
        ),
        replace(_UNET, adapter_names="original"),
        VAE,
    ),
    False,
    0.13025,
    "StableDiffusionXLPipeline",
)  # fmt: skip
LAYOUTS = (SD1, SDXL)


def layout_of(family: str) -> FamilyLayout:
    """The layout of a family, by its name in `engine.models.FAMILIES`."""
    return next(row for row in LAYOUTS if row.name == family)
