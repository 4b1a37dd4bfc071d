"""Sites as the model families make them, and shortcuts for the tests of adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.adapters import DeltaArgs
from engine.adapters.base import Method, MethodSettings
from engine.adapters.layers import Layer


@dataclass(frozen=True)
class Spot:
    """A site."""

    name: str
    layer: nn.Module
    part: str = "unet"
    kind: str = "linear"
    place: str = "attention"

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
