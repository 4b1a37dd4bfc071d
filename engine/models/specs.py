"""What a network is: a typed description, found from its tensors. Their names (diffusers') and shapes suffice; no weight is read.

Widths and depths come from the shapes, so a narrow model of a family takes the same path through the code. What shapes cannot tell follows
the family's rule. SD 1's U-Net has 8 heads a level, SDXL's has width/64, CLIP has width/64; each has at least 1. CLIP-L uses quick_gelu,
open_clip's bigG uses gelu.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Json = dict[str, object]  # a configuration file's content
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Activation = Literal["quick_gelu", "gelu"]

GROUPS = 32  # the group norms' number of groups, in every U-Net and VAE of these families
POSITIONS = 77
VOCABULARY = 49408


class Unfit(Exception):
    """The shapes fit no rule. `name` is the tensor (diffusers' naming) that tells; the message says what is wrong with it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


@dataclass(frozen=True)
class UnetSpec:
    """A U-Net of SD1's or SDXL's kind. Lists go from the finest level to the coarsest."""

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    layers: int  # residual blocks a level on the way down; one more on the way up
    depths: tuple[int, ...]  # transformer blocks in each attention of a level; 0 = the level has no attention
    mid_depth: int
    context: int  # width of the text states
    heads: tuple[int, ...]
    linear_projection: bool  # proj_in and proj_out are Linear, not 1x1 convolutions
    label_width: int = 0  # width of the extra conditioning (pooled text and sizes); 0 = none
    size_width: int = 0  # width of each of the six sizes' embeddings


@dataclass(frozen=True)
class VaeSpec:
    """An image autoencoder of SD1's kind."""

    in_channels: int
    latent_channels: int
    widths: tuple[int, ...]
    layers: int
    scale: float

    @property
    def stride(self) -> int:
        """Pixels a latent cell."""
        return 1 << (len(self.widths) - 1)


@dataclass(frozen=True)
class ClipSpec:
    """A CLIP text encoder. `projection` is the pooled output's width, 0 where the encoder has none."""

    width: int
    layers: int
    heads: int
    mlp: int
    activation: Activation
    projection: int = 0
    vocabulary: int = VOCABULARY
    positions: int = POSITIONS


Spec = UnetSpec | VaeSpec | ClipSpec


def side(shapes: Shapes, name: str, axis: int = 0) -> int:
    """One side of a tensor that must be there."""
    if name not in shapes or len(shapes[name]) <= axis:
        raise Unfit(name, "is missing" if name not in shapes else f"has the shape {list(shapes[name])}")
    return shapes[name][axis]


def count(shapes: Shapes, pattern: str) -> int:
    """How many numbers the one group of `pattern` takes, matched at the start of the names: the highest plus one."""
    compiled = re.compile(pattern)
    found = (compiled.match(name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def by_width(width: int) -> int:
    """Heads of 64 channels, at least one."""
    return max(1, width // 64)


def unet(shapes: Shapes, family: str, pooled: int = 0) -> UnetSpec:
    """The U-Net with these tensors; `pooled` is the width of the pooled text (SDXL). Raises Unfit."""
    levels = count(shapes, r"down_blocks\.(\d+)\.")
    if not levels:
        raise Unfit("down_blocks.0.resnets.0.conv1.weight", "is missing")
    widths = tuple(side(shapes, f"down_blocks.{level}.resnets.0.conv1.weight") for level in range(levels))
    depths = tuple(count(shapes, rf"down_blocks\.{level}\.attentions\.0\.transformer_blocks\.(\d+)\.") for level in range(levels))
    for level, width in enumerate(widths):
        name = f"down_blocks.{level}.resnets.0.conv1.weight"
        if width % GROUPS:
            raise Unfit(name, f"has {width} channels; a level's width must be a multiple of {GROUPS}")
        if family == "sdxl" and width > 64 and width % 64:
            raise Unfit(name, f"has {width} channels; a width above 64 must be a multiple of 64 (heads of 64)")
    attended = [level for level, depth in enumerate(depths) if depth]
    if not attended:
        raise Unfit("down_blocks.0.attentions.0.proj_in.weight", "is missing, and so is every other attention of the way down")
    first = f"down_blocks.{attended[0]}.attentions.0"
    label = side(shapes, "add_embedding.linear_1.weight", 1) if family == "sdxl" else 0
    if label and (label <= pooled or (label - pooled) % 12):  # six sizes, each an even number of sines and cosines
        raise Unfit("add_embedding.linear_1.weight", f"takes {label} numbers: no six sizes fit beside {pooled} of pooled text")
    return UnetSpec(
        in_channels=side(shapes, "conv_in.weight", 1),
        out_channels=side(shapes, "conv_out.weight"),
        widths=widths,
        layers=count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        depths=depths,
        mid_depth=count(shapes, r"mid_block\.attentions\.0\.transformer_blocks\.(\d+)\."),
        context=side(shapes, f"{first}.transformer_blocks.0.attn2.to_k.weight", 1),
        heads=tuple(8 if family == "sd1" else by_width(width) for width in widths),
        linear_projection=len(shapes.get(f"{first}.proj_in.weight", ())) == 2,
        label_width=label,
        size_width=(label - pooled) // 6 if label else 0,
    )


def vae(shapes: Shapes, scale: float) -> VaeSpec:
    """The autoencoder with these tensors. Raises Unfit."""
    levels = count(shapes, r"encoder\.down_blocks\.(\d+)\.")
    widths = tuple(side(shapes, f"encoder.down_blocks.{level}.resnets.0.conv1.weight") for level in range(levels))
    for level, width in enumerate(widths):
        if width % GROUPS:
            name = f"encoder.down_blocks.{level}.resnets.0.conv1.weight"
            raise Unfit(name, f"has {width} channels; a level's width must be a multiple of {GROUPS}")
    return VaeSpec(
        in_channels=side(shapes, "encoder.conv_in.weight", 1),
        latent_channels=side(shapes, "decoder.conv_in.weight", 1),
        widths=widths,
        layers=count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        scale=scale,
    )


def clip(shapes: Shapes, activation: Activation) -> ClipSpec:
    """The text encoder with these tensors. Raises Unfit."""
    token = "text_model.embeddings.token_embedding.weight"
    vocabulary, width = side(shapes, token), side(shapes, token, 1)
    positions = side(shapes, "text_model.embeddings.position_embedding.weight")
    if vocabulary != VOCABULARY:
        raise Unfit(token, f"has {vocabulary:,} tokens; CLIP's vocabulary has {VOCABULARY:,}")
    if positions != POSITIONS:
        raise Unfit("text_model.embeddings.position_embedding.weight", f"has {positions} positions; CLIP has {POSITIONS}")
    if width % by_width(width):
        raise Unfit(token, f"is {width} wide, which {by_width(width)} heads cannot share")
    return ClipSpec(
        width=width,
        layers=count(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        heads=by_width(width),
        mlp=side(shapes, "text_model.encoder.layers.0.mlp.fc1.weight"),
        activation=activation,
        projection=side(shapes, "text_projection.weight") if "text_projection.weight" in shapes else 0,
        vocabulary=vocabulary,
        positions=positions,
    )
