"""Which layers adapters may change, by names and shapes alone: the same as in the networks that are built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from models_fakes import FULL

from engine import models
from engine.models import blueprint, networks
from engine.models.family import Spot
from engine.models.layouts import LAYOUTS
from engine.models.recognise import recognise
from engine.models.specs import Spec
from engine.models.spots import spots

PARTS = [(layout, row) for layout in LAYOUTS for row in layout.parts]


@pytest.fixture
def micro(micro_sd: Path, micro_sdxl: Path) -> dict[str, Mapping[str, Spec]]:
    found = {checkpoint.family: checkpoint.networks for checkpoint in (recognise(micro_sd), recognise(micro_sdxl))}
    return {family: {part: source.spec for part, source in parts.items()} for family, parts in found.items()}


@pytest.mark.parametrize("size", ["micro", "full"])
@pytest.mark.parametrize(("layout", "row"), PARTS, ids=[f"{layout.name}-{row.name}" for layout, row in PARTS])
def test_spots_are_those_of_the_built_network(layout, row, size: str, micro: dict[str, Mapping[str, Spec]]) -> None:  # type: ignore[no-untyped-def]
    """Its module trees are another matter: the order may differ, and what a module is was told by its class when these were chosen."""
    spec = {"micro": micro, "full": FULL}[size][layout.name][row.name]
    network = networks.build(spec)
    built = models.get(layout.name).sites(row.name, network)
    found = spots(row, blueprint.tensors(spec))
    names = [field.name for field in dataclasses.fields(Spot)]
    told = [Spot(**{name: getattr(site, name) for name in names}) for site in built]
    assert sorted(told, key=lambda spot: spot.name) == sorted(found, key=lambda spot: spot.name)
    classes = {"linear": "Linear", "conv1x1": "Conv2d", "conv3x3": "Conv2d"}
    for site in built:
        assert tuple(site.weight().shape) == site.shape
        assert type(site.layer).__name__ in ({"LayerNorm", "GroupNorm"} if site.kind == "norm" else {classes[site.kind]})
        assert networks.in_files(network, next(name for name, module in network.named_modules() if module is site.layer)) == site.module
    assert bool(found) is (row.name != "vae")
