"""What the training loop sees of a method, and what one layer gets.

An adapter replaces the `forward` of its layer, on that one instance. The module tree, its names and its weights stay as they are. Several
adapters may be attached to one layer; they are detached in the reverse order.

Why not a forward hook: it gets the layer's output after autograd has recorded the layer. A biased Linear's output is a view there, and
adding to it in place costs four copies in the backward pass. The input also gets two gradients, which must be added. In place of
`forward`, the frozen product and the adapter's two thin ones are one autograd node.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from engine import seeds
from engine.errors import UserError

Forward = Callable[[Tensor], Tensor]


class Site(Protocol):
    """A place where an adapter may sit; the model families make these."""

    @property
    def name(self) -> str:
        """The module's name in an adapter file: `lora_unet_down_blocks_0_attentions_0_proj_in`. No dots."""

    @property
    def layer(self) -> nn.Module:
        """The Linear or Conv2d itself."""

    @property
    def part(self) -> str:
        """`unet`, `text_encoder` or `text_encoder_2`."""

    @property
    def kind(self) -> str:
        """`linear`, `conv1x1` or `conv3x3`."""

    @property
    def default(self) -> bool:
        """Whether LoRA sits here without `conv_dim`."""

    def weight(self) -> Tensor:
        """The layer's weight as it computes with it: [out, in] or [out, in, k, k]."""


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that learn at one rate, which the schedule scales."""

    name: str  # "unet", "unet up", "text_encoder", ...
    params: tuple[nn.Parameter, ...]
    rate: float  # at the schedule's peak


class Diverged(UserError):
    """What is trained is not numbers any more, and nothing after this step is worth keeping."""


class NothingLearned(UserError):
    """A file would leave the base model as it is."""


class Method(Protocol):
    """All that training, preview and export know of a way to train."""

    strength: float  # 1 = as trained; 0 = the base model, bit for bit; may be negative. Takes effect at the next forward.

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

    def size(self, dtype: torch.dtype) -> int:
        """Bytes of the files to come, without their metadata."""

    def advice(self, name: str, file: Path) -> list[tuple[str, str]]:
        """How the file called `name` is used, a line for each program: its name, and what to do."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the values of an adapter file. Raises UserError for a name too many, too few, or of another shape."""

    def train(self, mode: bool) -> None:
        """Dropout on or off."""

    def names(self) -> list[str]:
        """The sites that carry an adapter, in file naming."""


class MethodType(Protocol):
    """A method's class: how `engine.adapters.make` builds one."""

    def make(
        self,
        sites: Sequence[Site],
        *,
        dim: int,
        alpha: float | None,
        dropout: float | None,
        options: object,
        seed: int,
        scale_weight_norms: float | None,
        weights: Mapping[str, Tensor] | None,
        dim_from_weights: bool,
        rates: Mapping[str, float],
        rank: int,
    ) -> Method:
        """Build the method's adapters."""


class LayerAdapter(nn.Module, ABC):
    """The change of one layer's weight.

    A method states `delta`, the one formula that merge and export use, and `run`, which applies it; a contract test holds the two equal.
    The layer itself is reached through the site, so that it is no submodule and none of its weights is counted as the adapter's.
    """

    strength: float = 1.0

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    @abstractmethod
    def delta(self) -> Tensor:
        """The weight's change at strength 1: float32, shaped like the weight."""

    @abstractmethod
    def run(self, inner: Forward, x: Tensor) -> Tensor:
        """The layer's output with the change applied at `strength`; `inner` is the layer's forward without it."""

    def forward(self, inner: Forward, x: Tensor) -> Tensor:
        """What stands in front of the layer. At strength 0 the base is not touched at all, so it is equal bit for bit."""
        return self.run(inner, x) if self.strength else inner(x)


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


class LayerMethod:
    """The part of `Method` that is the same for every method made of one `LayerAdapter` a site."""

    def __init__(self, layers: Sequence[LayerAdapter], seed: int, rank: int, random: bool) -> None:
        """`rank` is the process's number among several; `random` says whether anything is drawn in a forward pass."""
        self.layers = layers
        self._seed, self._rank, self._random = seed, rank, random
        self._attached: list[Attachment] = []
        self._strength = 1.0

    @property
    def trains(self) -> frozenset[str]:
        """The parts that carry adapters."""
        return frozenset(layer.site.part for layer in self.layers)

    @property
    def strength(self) -> float:
        """1 = as trained, 0 = the base model."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = value
        for layer in self.layers:
            layer.strength = value

    def attach(self) -> None:
        """Stand in front of the layers. Raises RuntimeError when already attached."""
        if self._attached:
            raise RuntimeError("the method is attached already")
        self._attached = [Attachment(layer.site.layer, layer) for layer in self.layers]

    def detach(self) -> None:
        """Give the layers back as they were; does nothing when not attached."""
        while self._attached:
            self._attached[-1].remove()
            self._attached.pop()

    def prepare(self, micro_step: int, batch: object) -> None:
        """Reseed the devices' own generators, if anything is drawn.

        Those, and not generators of ours, because gradient checkpointing restores them when it computes a block a second time.
        """
        if self._random:
            torch.manual_seed(seeds.derived(self._seed, "dropout", micro_step, self._rank))

    def train(self, mode: bool) -> None:
        """Dropout on or off."""
        for layer in self.layers:
            layer.train(mode)

    def names(self) -> list[str]:
        """The sites that carry an adapter, in file naming."""
        return [layer.site.name for layer in self.layers]
