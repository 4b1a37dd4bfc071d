"""The change of one layer: all that the methods' formulas share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from engine import seeds
from engine.adapterfiles import Kind
from engine.adapters import DeltaArgs, fullsize
from engine.adapters.base import Forward, MethodSettings, Site
from engine.adapters.file import Module
from engine.adapters.forms import Form
from engine.errors import UserError


@dataclass(frozen=True)
class Dropout:
    """Probabilities, all drawn on the device in training only."""

    network: float = 0.0  # one inner activation is left out; the others are scaled up to keep the mean
    rank: float = 0.0  # one rank for one sample, or one row of a full-size change, is left out
    module: float = 0.0  # the whole adapter is left out; not scaled, as in sd-scripts
    rows: Literal["expected", "drawn", "none"] = "expected"  # the rows left are divided by 1 - rank, by the part drawn, or not at all

    @classmethod
    def of(cls, settings: MethodSettings, network: float | None = None) -> Dropout:
        """Those of the settings. Raises UserError for what is no probability."""
        options = settings.options
        assert isinstance(options, DeltaArgs)
        return cls(
            probability(network, "network_dropout"),
            probability(options.rank_dropout, "rank_dropout"),
            probability(options.module_dropout, "module_dropout"),
        )

    @property
    def any(self) -> bool:
        """Whether anything is drawn."""
        return bool(self.network or self.rank or self.module)

    def row_mask(self, out: int, device: torch.device) -> Tensor:
        """Factors [out] for the rows of a full-size change."""
        mask = torch.ones(out, device=device)
        if self.rank:
            mask = (torch.rand(out, device=device) >= self.rank).float()
            if self.rows != "none":
                mask = mask / ((1.0 - self.rank) if self.rows == "expected" else mask.mean().clamp(min=1.0 / out))
        if self.module:
            mask = mask * (torch.rand((), device=device) >= self.module)
        return mask


class Layer(nn.Module, ABC):
    """The change of one site: `changed` is its formula, its parameters are float32 whatever the layer computes in.

    The site's layer is no submodule, so that none of its weights counts as the adapter's.
    """

    kind: ClassVar[Kind]  # of the module in a file
    form: ClassVar[Form]  # its parameters
    ends: ClassVar[Mapping[str, str]]  # parameter -> the end of its tensor's name in a file
    factors: ClassVar[tuple[str, ...]] = ()  # parameters in each of which the change is linear; the first takes up another alpha
    faster: ClassVar[tuple[str, ...]] = ()  # parameters that LoRA+ has learn faster
    strength: float = 1.0

    def __init__(self, site: Site, rank: int, alpha: float, dropout: Dropout, seed: int) -> None:
        super().__init__()
        if site.kind not in self.form.kinds or getattr(site.layer, "groups", 1) != 1:
            raise TypeError(f"{site.name}: {type(self).__name__} cannot change {site.layer}")
        weight = site.weight()
        self.site, self.rank, self.alpha, self.scale, self.dropout = site, rank, alpha, alpha / rank, dropout
        source = torch.Generator("cpu").manual_seed(seeds.derived(seed, "lora", site.name))
        for name, shape in self.form.shapes(site.shape, rank).items():
            start = torch.zeros(shape, device="meta" if weight.is_meta else "cpu")
            if not weight.is_meta and name not in self.form.zeros:
                self.start(name, start, source)
            setattr(self, name, nn.Parameter(start.to(weight.device)))

    @abstractmethod
    def start(self, name: str, values: Tensor, source: torch.Generator) -> None:
        """Fill the initial values of a parameter that does not begin at zero, in place. All together they change nothing."""

    @abstractmethod
    def changed(self, weight: Tensor, bias: Tensor | None, strength: float) -> tuple[Tensor, Tensor | None]:
        """The formula: the layer's float32 weight and bias as they become, float32 and in their shapes."""

    def change(self, strength: float) -> tuple[Tensor, Tensor | None]:
        """What is added to weight and bias, float32; None where the bias stays."""
        base = self.site.layer.bias
        weight, bias = self.site.weight().float(), base.float() if isinstance(base, Tensor) else None
        new_weight, new_bias = self.changed(weight, bias, strength)
        return new_weight - weight, None if new_bias is bias or new_bias is None else new_bias - (0.0 if bias is None else bias)

    def run(self, inner: Forward, x: Tensor) -> Tensor:
        """The layer's output with the change applied at `strength`; `inner` is the layer's forward without it."""
        rows = self.dropout.row_mask(self.site.weight().shape[0], x.device) if self.training and self.dropout.any else None
        return inner(x) + fullsize.applied(self, x, rows)

    def forward(self, inner: Forward, x: Tensor) -> Tensor:
        """What stands in front of the layer. At strength 0 the base is not touched at all, so it is equal bit for bit."""
        return self.run(inner, x) if self.strength else inner(x)

    def pack(self, alpha: float) -> dict[str, Tensor]:
        """The tensors of a file's module by the ends of their names, for the alpha that is written beside them."""
        tensors = {end: getattr(self, name).detach() for name, end in self.ends.items()}
        if alpha != self.alpha:
            end = self.ends[self.factors[0]]
            tensors[end] = tensors[end].float() * (self.alpha / alpha)
        return tensors

    def unpack(self, module: Module) -> None:
        """Take over the values of a file's module, so that the change is the file's whatever its alpha."""
        ratio = 1.0 if module.scale == self.scale else module.scale / self.scale
        with torch.no_grad():
            for name, end in self.ends.items():
                mine = getattr(self, name)
                values = module.tensors[end].reshape(mine.shape).float()
                mine.copy_(values * ratio if name in self.factors[:1] else values)

    def is_nothing(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a file's module of these tensors would change nothing."""
        if not self.scale:
            return True
        if self.factors:
            return any(not bool(tensors[self.ends[name]].any()) for name in self.factors)
        return not any(bool(tensor.any()) for tensor in tensors.values())

    @classmethod
    def dropouts(cls, settings: MethodSettings) -> tuple[Dropout, tuple[str, ...]]:
        """What is left out in training, and what should be said of it. A full-size change has no inner activations to leave out."""
        ignored = f"dropout {settings.dropout} of single activations has no effect: {cls.kind.title} has rank_dropout and module_dropout"
        return Dropout.of(settings), (ignored,) if settings.dropout else ()

    @classmethod
    def norms(cls, layers: Sequence[Layer]) -> Tensor:
        """The norms of the changes at strength 1, of layers of this kind that are alike in rank and scale. [n]."""
        return torch.stack([layer.change(1.0)[0].norm() for layer in layers])

    @classmethod
    def written_alphas(cls, alphas: Mapping[str, float]) -> Mapping[str, float]:
        """The alpha that a file gives to each module of this kind, for those that the layers have."""
        return alphas


class Delta(Layer):
    """A layer whose change ignores what it changes: W + strength * delta."""

    @abstractmethod
    def delta(self) -> Tensor:
        """The weight's change at strength 1, float32; as many values as the weight."""

    def changed(self, weight: Tensor, bias: Tensor | None, strength: float) -> tuple[Tensor, Tensor | None]:
        """W + strength * delta, and the bias as it is."""
        return weight + self.change(strength)[0], bias

    def change(self, strength: float) -> tuple[Tensor, Tensor | None]:
        """strength * delta, without reading the weight."""
        return strength * self.delta().view(self.site.weight().shape), None


def probability(value: float | None, key: str) -> float:
    """A dropout setting as a number. Raises UserError outside 0 <= p < 1."""
    number = value or 0.0
    if not 0.0 <= number < 1.0:
        raise UserError(f"{number} is no dropout probability", "give a number from 0 up to, not including, 1", where=key)
    return number
