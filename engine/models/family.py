"""The protocol of a model family, and the data that passes through it. The rest of the engine sees nothing else of a family.

Nothing here imports torch, so that recognising a file stays quick; tensors appear in annotations only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from engine.models.configs import config_of
from engine.models.layouts import PartSource
from engine.models.specs import Json, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Layout = Literal["original", "diffusers"]
Prediction = Literal["epsilon", "v_prediction"]
LayerKind = Literal["linear", "conv1x1", "conv3x3", "norm"]
Place = Literal["attention", "feed_forward", "transformer", "resnet", "sampler", "end"]


@dataclass(frozen=True)
class LatentSpec:
    """The shape and range of a family's latents.

    `stride` is pixels a latent cell; `scale` and `shift` hold one value, or one for each channel;
    `rank` counts the dimensions with the batch.
    """

    channels: int
    stride: int
    scale: tuple[float, ...]
    shift: tuple[float, ...] = (0.0,)
    rank: int = 4

    def scaled(self, latents: Tensor) -> Tensor:
        """What the VAE gives -> what the U-Net sees: (x - shift) * scale. Any dtype, shape [B, C, ...]."""
        return (latents - self._column(latents, self.shift)) * self._column(latents, self.scale)

    def unscaled(self, latents: Tensor) -> Tensor:
        """What the U-Net makes -> what the VAE decodes: the inverse of `scaled`."""
        return latents / self._column(latents, self.scale) + self._column(latents, self.shift)

    def spread(self, std: Tensor) -> Tensor:
        """A standard deviation in the U-Net's units: scaled, not shifted."""
        return std * self._column(std, self.scale)

    def _column(self, like: Tensor, values: tuple[float, ...]) -> Tensor | float:
        """The values shaped to multiply [B, C, ...] along C; a plain number (no device copy) when all channels share it."""
        if len(values) == 1:
            return values[0]
        return like.new_tensor(values).view(1, -1, *(1,) * (self.rank - 2))


@dataclass(frozen=True)
class Spot:
    """One layer that an adapter may change, without the layer: what names and shapes tell of it."""

    name: str  # in adapter files, e.g. "lora_unet_down_blocks_0_attentions_0_proj_in"; SDXL's U-Net uses the original layout's names
    part: str  # "unet", "text_encoder", "text_encoder_2"
    kind: LayerKind
    place: Place  # "transformer": what is neither attention nor feed-forward there; "end": the U-Net's first and last layers, time
    shape: Shape  # of the weight: [out, in], [out, in, k, k], or [channels] of a norm
    module: str  # its name in the network, as files in diffusers' layout have it


@dataclass(frozen=True)
class Site(Spot):
    """One layer that an adapter may change, in a network that is there."""

    layer: nn.Module  # a Linear, Conv2d, LayerNorm or GroupNorm

    def weight(self) -> Tensor:
        """The base weight, of the site's `shape`."""
        return cast("Tensor", self.layer.weight)


@dataclass(frozen=True)
class Cond:
    """What conditions the U-Net, as the family's `encode_text` makes it and its `predict` reads it."""

    hidden: Tensor  # [B, T, D]
    pooled: Tensor | None = None  # [B, P]; SDXL


@dataclass(frozen=True)
class Marks:
    """What a checkpoint file says of the way its model was trained."""

    prediction: Prediction = "epsilon"
    zero_terminal_snr: bool = False


@dataclass(frozen=True)
class Target:
    """Where a whole checkpoint is written, and how."""

    path: Path  # a .safetensors file, or a folder in the diffusers layout
    layout: Layout = "original"
    dtype: torch.dtype | None = None  # None keeps each tensor's
    marks: Marks = Marks()
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the file; a folder has none


@dataclass(frozen=True)
class Checkpoint:
    """A recognised base model, before any weight is read."""

    path: Path
    family: str  # a name in `engine.models.FAMILIES`
    layout: Layout
    marks: Marks
    marks_from: str  # what told the marks, for a notice: "the tensor `v_pred`", "nothing in the file"
    notes: tuple[str, ...]  # sentences worth telling the user
    networks: Mapping[str, PartSource] = field(repr=False)  # part -> where its weights are, and what the network is
    resolution: int | None = None  # pixels, the side of the square it was made for, where the file says one

    @property
    def configs(self) -> dict[str, Json]:
        """Part -> the network's configuration, as diffusers or transformers spell it."""
        return {part: config_of(source.spec) for part, source in self.networks.items()}

    @property
    def prediction(self) -> Prediction:
        """What the U-Net predicts."""
        return self.marks.prediction

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the noise schedule ends in pure noise."""
        return self.marks.zero_terminal_snr


class Family(Protocol):
    """One line of models. Stateless: the loaded networks are passed in."""

    name: str
    latent: LatentSpec
    parts: tuple[str, ...]  # every network of a checkpoint: "unet", "vae", "text_encoder" [, "text_encoder_2"]
    text_parts: tuple[str, ...]  # those that encode text, in the order of `tokenize`'s first dimension
    uses_clip_skip: bool  # whether `clip_skip` changes what `encode_text` gives
    architecture: str  # modelspec.architecture of a checkpoint; an adapter's adds "/lora"
    implementation: str  # modelspec.implementation of an adapter

    def base_model_version(self, prediction: Prediction) -> str:
        """The value of `ss_base_model_version`."""

    def vae_dtype(self, wanted: torch.dtype, no_half_vae: bool = False) -> torch.dtype:
        """The VAE's dtype when the run computes in `wanted`."""

    def load(self, checkpoint: Checkpoint, part: str, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
        """One network, frozen and in eval mode; only its tensors are read. dtype None keeps the file's. Strict about names and shapes."""

    def tokenize(self, captions: Sequence[str], max_token_length: int | None = None) -> Tensor:
        """Captions -> ids int64 [E, B, 77 | 152 | 227] for None or 75 | 150 | 225 tokens."""

    def encode_text(self, encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int | None = None) -> Cond:
        """Ids [E, B, N] and the encoders by part name -> conditioning; differentiable unless the caller forbids it."""

    def pack(self, cond: Cond) -> dict[str, Tensor]:
        """The conditioning as named tensors with leading dimension B: all that caches and batches see."""

    def unpack(self, named: Mapping[str, Tensor]) -> Cond:
        """The inverse of `pack`."""

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        """The U-Net's output [B, C, h, w] in its own dtype. t float32 [B] in 0..999; size int64 [B, 6] for families conditioned on it.

        size = original height, width, crop top, left, target height, width, in pixels.
        """

    def sites(self, part: str, network: nn.Module) -> list[Site]:
        """Every layer of one part that an adapter may change, norms and ends among them, in the order of its modules."""

    def save(self, parts: Mapping[str, nn.Module], target: Target) -> None:
        """Write a whole checkpoint of these networks, by part name."""
