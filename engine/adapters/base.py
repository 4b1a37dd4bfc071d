"""What training sees of a method, and what a method is built by. Imports no torch.

An adapter replaces the `forward` of its layer, on that one instance. The module tree, its names and its weights stay as they are. Several
adapters may be attached to one layer; they are detached in the reverse order.

Why not a forward hook: it gets the layer's output after autograd has recorded the layer. A biased Linear's output is a view there, and
adding to it in place costs four copies in the backward pass. The input also gets two gradients, which must be added. In place of
`forward`, the frozen product and LoRA's two thin ones are one autograd node.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from engine.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Forward: TypeAlias = "Callable[[Tensor], Tensor]"


class Spot(Protocol):
    """A place where an adapter may sit, by names and shapes alone; the model families make these."""

    @property
    def name(self) -> str:
        """The module's name in an adapter file: `lora_unet_down_blocks_0_attentions_0_proj_in`. No dots."""

    @property
    def part(self) -> str:
        """`unet`, `text_encoder` or `text_encoder_2`."""

    @property
    def kind(self) -> str:
        """`linear`, `conv1x1`, `conv3x3` or `norm`."""

    @property
    def place(self) -> str:
        """`attention`, `feed_forward` or `transformer` (the rest of one), `resnet`, `sampler`, or `end` of the U-Net."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the layer's weight: [out, in], [out, in, k, k], or [channels] of a norm."""


class Site(Spot, Protocol):
    """A spot with its layer."""

    @property
    def layer(self) -> nn.Module:
        """The Linear, Conv2d, LayerNorm or GroupNorm itself."""

    def weight(self) -> Tensor:
        """The layer's weight as it computes with it, of the spot's shape."""


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that learn at one rate, which the schedule scales."""

    name: str  # "unet", "unet up", "text_encoder", ...
    params: tuple[nn.Parameter, ...]
    rate: float  # at the schedule's peak


@dataclass(frozen=True)
class MethodSettings:
    """What a method is built by.

    `weights` are the tensors of an adapter file to continue from (`network_weights`); `dim_from_weights` takes ranks, alphas and the choice
    of layers from them too. Initial values depend on `seed` and each site's name alone.
    """

    dim: int
    alpha: float | None  # None or 0: as `dim`
    dropout: float | None
    options: object  # an instance of the row's `options`
    seed: int
    scale_weight_norms: float | None = None
    weights: Mapping[str, Tensor] | None = None
    dim_from_weights: bool = False
    rates: Mapping[str, float] = field(default_factory=dict)  # of the sites' parts; without them nothing can be trained
    rank: int = 0  # the process's number among several, which sets their dropout apart


class Diverged(UserError):
    """What is trained is not numbers any more, and nothing after this step is worth keeping."""


class NothingLearned(UserError):
    """A file would leave the base model as it is."""


class Method(Protocol):
    """All that training, preview and export know of a way to train."""

    strength: float  # 1 = as trained; 0 = the base model, bit for bit; may be negative. Takes effect at the next forward.
    notices: tuple[str, ...]  # what should be said of its settings

    @property
    def trains(self) -> frozenset[str]:
        """The parts of the model that it trains, so that their forward pass is recorded: `unet`, `text_encoder`, `text_encoder_2`."""

    def attach(self) -> None:
        """Stand in front of the layers."""

    def detach(self) -> None:
        """Give the layers back as they were."""

    def parameter_groups(self) -> list[ParamGroup]:
        """What the optimizer trains. Every parameter is in exactly one group."""

    def prepare(self, micro_step: int, batch: object) -> None:
        """Before each micro-batch's forward pass, with its number in the whole run: reseed what the device draws for dropout."""

    def after_step(self) -> dict[str, Tensor]:
        """Once after each optimizer step. The statistics are scalars on the device, nothing is read back."""

    def write(self, path: Path, dtype: torch.dtype, metadata: Mapping[str, str]) -> tuple[Path, ...]:
        """Write what is trained, numbers in `dtype`, as a file of that name; all files that were written, the one to use first.

        `metadata` are the run's; the method adds what only it knows. Raises Diverged where there is nothing but broken numbers to write,
        NothingLearned where the file would change nothing, UserError where the disk refuses. Nothing is written then.
        """

    def size(self, dtype: torch.dtype, metadata: Mapping[str, str]) -> int:
        """Bytes of the files that `write` would make. By arithmetic: nothing is copied."""

    def advice(self, name: str, file: Path) -> list[tuple[str, str]]:
        """How the file called `name` is used, a line for each program: its name, and what to do."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the values of an adapter file. Raises UserError for a name too many, too few, or of another shape."""

    def train(self, mode: bool) -> None:
        """Dropout on or off."""

    def names(self) -> list[str]:
        """The sites that carry an adapter, in file naming."""


class Attachment:
    """One adapter in front of one layer, until `remove`."""

    def __init__(self, layer: nn.Module, adapter: Callable[[Forward, Tensor], Tensor]) -> None:
        self._layer = layer
        self._before = layer.__dict__.get("forward")  # None: the class's own
        self._mine = functools.partial(adapter, layer.forward)
        layer.__dict__["forward"] = self._mine

    def remove(self) -> None:
        """Give the layer its former forward back. Raises RuntimeError when something attached later is still there."""
        if self._layer.__dict__.get("forward") is not self._mine:
            raise RuntimeError("adapters must be detached in the reverse order of attaching")
        if self._before is None:
            del self._layer.__dict__["forward"]
        else:
            self._layer.__dict__["forward"] = self._before
