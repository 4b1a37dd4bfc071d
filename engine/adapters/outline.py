"""The parameters that a method would train, without building it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.adapters import MethodRow, modules, plan
from engine.adapters.base import MethodSettings, Spot
from engine.adapters.forms import Form, Shape


@dataclass(frozen=True)
class Parameter:
    """One tensor that would be trained, in float32."""

    part: str  # of the model
    site: str  # its layer's name in the file to come
    name: str  # its own, in its layer
    shape: Shape
    zero: bool  # whether all its values begin at zero


@dataclass(frozen=True)
class Outline:
    """What a method would train."""

    form: Form  # of its changes
    ranks: tuple[tuple[Spot, int], ...]  # the layers that it changes, each with its rank
    parameters: tuple[Parameter, ...]

    def rank(self, *, square: bool) -> int:
        """The largest rank at 3x3 convolutions (`square`), or elsewhere; 0 where no such layer is changed."""
        return max((rank for spot, rank in self.ranks if (spot.kind == "conv3x3") == square), default=0)


def outline(method: MethodRow, spots: Sequence[Spot], settings: MethodSettings, weights: Mapping[str, Shape] | None = None) -> Outline:
    """That of the method over these spots; `weights` are names and shapes of the file to continue from.

    Raises UserError for what building it would refuse by names and shapes.
    """
    row, places = plan.chosen(method, spots, settings)
    assert row.form is not None and row.kind is not None
    ranks = [(place.site, place.dim) for place in places]
    if settings.dim_from_weights:
        file = None if weights is None else modules.outlines(weights, "network_weights")
        ranks = [(spot, module.rank) for spot, module in plan.by_weights(row.form, row.kind, spots, file)]
    plan.require_some(row.kind, ranks)
    zeros = row.form.zeros if weights is None else frozenset[str]()  # a file's values are taken over
    found = [
        Parameter(spot.part, spot.name, name, shape, name in zeros)
        for spot, rank in ranks
        for name, shape in row.form.shapes(spot.shape, rank).items()
    ]
    return Outline(row.form, tuple(ranks), tuple(found))
