"""Sites as the model families make them, and shortcuts for the tests of adapters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine import adapterfiles
from engine.adapterfiles import Kind
from engine.adapters import DeltaArgs, Maker, MethodRow, method
from engine.adapters.base import Method, MethodSettings, Site
from engine.adapters.forms import Form
from engine.adapters.layers import Layer
from engine.adapters.plan import AnySpot, Place


@dataclass(frozen=True)
class Spot:
    """A site."""

    name: str
    layer: nn.Module
    part: str = "unet"
    kind: str = "linear"
    place: str = "attention"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.layer.weight.shape)

    def weight(self) -> Tensor:
        return self.layer.weight


def settings(options: object = None, **rest: Any) -> MethodSettings:
    """A method's settings: rank 4, alpha 2, seed 1, but for what is given."""
    plain: dict[str, Any] = {"dim": 4, "alpha": 2.0, "dropout": None, "seed": 1}
    return MethodSettings(options=options or DeltaArgs(), **{**plain, **rest})


def parameters(method: Method) -> Iterator[nn.Parameter]:
    """All that the optimizer trains."""
    for group in method.parameter_groups():
        yield from group.params


def filled(method: Method, std: float = 0.5, seed: int = 3) -> Any:
    """The method with random values, as after training."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers(method):
            for parameter in layer.parameters():
                parameter.normal_(std=std, generator=source)
    return method


def layers(method: Any) -> Iterator[Layer]:
    """Its layers."""
    yield from method.layers


def changes(method: Any) -> dict[str, Tensor]:
    """Site -> the change of its weight at strength 1."""
    return {layer.site.name: layer.change(1.0)[0].detach() for layer in layers(method)}


def merge(method: Any, strength: float) -> None:
    """Put the changes into the weights and biases themselves, rounded once."""
    with torch.no_grad():
        for layer in layers(method):
            module = layer.site.layer
            weight, bias = layer.changed(module.weight.float(), None if module.bias is None else module.bias.float(), strength)
            module.weight.copy_(weight)
            if bias is not None and module.bias is not None:
                module.bias.copy_(bias)


class ScaledLayer(Layer):
    """(1 + up @ down) * W: a formula that reads what it changes, and never a method of ours."""

    up: Tensor
    down: Tensor
    kind = Kind("scaled weights", ("scaled_up", "scaled_down"), "scaled_down", tuple(adapterfiles.USES))
    ends = {"up": "scaled_up", "down": "scaled_down"}
    factors = ("up", "down")
    faster = ("up",)

    form = Form(lambda weight, rank: {"up": (weight[0], rank), "down": (rank, math.prod(weight[1:]))}, frozenset(("up",)))

    def start(self, name: str, values: Tensor, source: torch.Generator) -> None:
        values.normal_(generator=source)

    def changed(self, weight: Tensor, bias: Tensor | None, strength: float) -> tuple[Tensor, Tensor | None]:
        return weight * (1 + strength * self.scale * (self.up @ self.down).view(weight.shape)), bias


class NormLayer(Layer):
    """Weight and bias of a norm, each with a change of its own."""

    weight: Tensor
    bias: Tensor
    kind = Kind("changed norms", ("changed_weight", "changed_bias"), "", tuple(adapterfiles.USES))
    form = Form(lambda weight, rank: {"weight": weight, "bias": weight}, frozenset(("weight", "bias")), frozenset(("norm",)))
    ends = {"weight": "changed_weight", "bias": "changed_bias"}

    def start(self, name: str, values: Tensor, source: torch.Generator) -> None:
        raise AssertionError("both begin at zero")

    def changed(self, weight: Tensor, bias: Tensor | None, strength: float) -> tuple[Tensor, Tensor | None]:
        return weight + strength * self.weight, (0.0 if bias is None else bias) + strength * self.bias


def _all_norms(sites: Sequence[AnySpot], settings: MethodSettings) -> tuple[MethodRow, list[Place[AnySpot]]]:
    return FAKES[1], [Place(site, 1, 1.0) for site in sites if site.kind == "norm"]


def _norms() -> Maker:
    def make(sites: Sequence[Site], settings: MethodSettings) -> Method:
        _, places = _all_norms(sites, settings)
        return method.build(NormLayer, sites, places, settings, *NormLayer.dropouts(settings))

    return make


FAKES = (  # what the shelf carries for methods to come
    MethodRow("scaled", "", DeltaArgs, (), ScaledLayer.kind, ScaledLayer.form, lambda: ScaledLayer),
    MethodRow("norms", "", DeltaArgs, (), NormLayer.kind, NormLayer.form, lambda: NormLayer, lambda: _all_norms, _norms),
)
