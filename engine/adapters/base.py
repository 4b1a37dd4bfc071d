"""What the training loop sees of a method, and what one layer gets.

An adapter stands in front of its layer's `forward` on that one instance: the module tree, its names and its weights stay as they are. A
forward hook would see the layer's output only after autograd has recorded the layer, where a biased Linear's output is a view: adding to it
in place costs four copies in the backward pass, and the input's two gradients need one more addition. In front of the layer, the frozen
product and the adapter's two thin ones are one autograd node. Adapters stack; they come off in the reverse order.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from engine import seeds

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
    """Parameters that learn at one rate: `lr_scale` times the rate that the setting `lr_key` gives."""

    name: str  # "unet", "unet up", "text_encoder", ...
    params: tuple[nn.Parameter, ...]
    lr_key: str  # "unet_lr" or "text_encoder_lr"
    lr_scale: float = 1.0


class Method(Protocol):
    """All that training, preview and export know of an adapter method."""

    strength: float  # 1 = as trained; 0 = the base model, bit for bit; may be negative. Takes effect at the next forward.

    def attach(self) -> None:
        """Stand in front of the layers."""

    def detach(self) -> None:
        """Give the layers back as they were."""

    def parameter_groups(self) -> list[ParamGroup]:
        """What the optimizer trains. Every parameter is in exactly one group."""

    def prepare(self, micro_step: int) -> None:
        """Before each micro-batch's forward pass, with its number in the whole run: reseed what the device draws for dropout."""

    def after_step(self) -> dict[str, Tensor]:
        """Once after each optimizer step. The statistics are scalars on the device, nothing is read back."""

    def tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Exactly what goes into the file: saved names, copies on the CPU."""

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

    def prepare(self, micro_step: int) -> None:
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
