"""What a method would train is counted without building it, and equals what building it makes: for every method, over whole models."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
import torch
from adapters_fakes import FAKES, layers, settings
from models_fakes import FULL, TINY_SD1

from engine import adapters, models
from engine.adapters import DeltaArgs, LycorisArgs, MethodRow, modules, outline
from engine.errors import UserError
from engine.models import blueprint, networks
from engine.models.layouts import layout_of
from engine.models.spots import spots

RATES = {"unet": 1.0, "text_encoder": 1.0, "text_encoder_2": 1.0}
DELTA = [DeltaArgs(), DeltaArgs(conv_dim=3), DeltaArgs(conv_dim=2, conv_alpha=1)]
ALGOS, PRESETS = (get_args(get_type_hints(LycorisArgs)[name]) for name in ("algo", "preset"))
LYCORIS = [
    *(LycorisArgs(preset=preset) for preset in PRESETS),
    *(LycorisArgs(algo) for algo in ALGOS),
    *(LycorisArgs("loha", conv_dim=conv_dim) for conv_dim in (-1, 0, 3)),
]
OPTIONS: dict[type, list[Any]] = {DeltaArgs: DELTA, LycorisArgs: LYCORIS}
ROWS = (*adapters.METHODS, *FAKES)
CASES = [pytest.param(row, options, id=f"{row.name}-{number}") for row in ROWS for number, options in enumerate(OPTIONS[row.options])]


def with_spots(family: str, parts: Any) -> tuple[list[Any], list[Any]]:
    """The sites of built networks, and the spots of the same by their blueprints."""
    layout = layout_of(family)
    sites = [site for part, spec in parts.items() for site in models.get(family).sites(part, networks.build(spec))]
    return sites, [spot for part, spec in parts.items() for spot in spots(layout.part(part), blueprint.tensors(spec))]


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[list[Any], list[Any]]]:
    """Full-size models of every family, on the meta device."""
    return {family: with_spots(family, parts) for family, parts in FULL.items()}


def built(method: Any) -> list[outline.Parameter]:
    """What a method trains; what begins at zero is another test's."""
    return [
        outline.Parameter(layer.site.part, layer.site.name, name, tuple(parameter.shape), False)
        for layer in layers(method)
        for name, parameter in layer.named_parameters()
    ]


def without_zeros(found: list[outline.Parameter]) -> list[outline.Parameter]:
    return [outline.Parameter(each.part, each.site, each.name, each.shape, False) for each in found]


def by_site(found: list[outline.Parameter]) -> list[outline.Parameter]:
    """Sites in the order of their names; the parameters of each in their own."""
    return sorted(found, key=lambda each: (each.part, each.site))


@pytest.mark.parametrize("family", list(FULL))
@pytest.mark.parametrize(("row", "options"), CASES)
def test_shapes_are_those_of_the_built_method(whole: Any, family: str, row: MethodRow, options: Any) -> None:
    sites, described = whole[family]
    wanted = settings(options, rates=RATES, dim=5)
    method = adapters.make(row, sites, wanted)
    found = outline.outline(row, described, wanted).parameters
    assert by_site(built(method)) == by_site(without_zeros(found))
    trained = [tuple(parameter.shape) for group in method.parameter_groups() for parameter in group.params]
    assert sorted(trained) == sorted(each.shape for each in found)


@pytest.mark.parametrize(("row", "options"), [case.values for case in CASES if case.id and case.id.endswith("-0")])
def test_zeros_are_those_of_the_built_method(row: MethodRow, options: Any) -> None:
    """Over layers with values, so that the parameters have theirs."""
    sites, described = with_spots("sd1", {"text_encoder": TINY_SD1["text_encoder"], "unet": TINY_SD1["unet"]})
    for site in sites:
        site.layer.to_empty(device="cpu")
    wanted = settings(options, rates=RATES)
    method = adapters.make(row, sites, wanted)
    zeros = {(layer.site.name, name): not bool(value.any()) for layer in layers(method) for name, value in layer.named_parameters()}
    found = outline.outline(row, described, wanted).parameters
    assert {(each.site, each.name): each.zero for each in found} == zeros


@pytest.mark.parametrize("row", adapters.METHODS, ids=lambda row: row.name)
def test_a_file_chooses_layers_and_ranks(whole: Any, row: MethodRow) -> None:
    """`dim_from_weights`: here those of a file of the first half of the layers at another rank; of the second text encoder none."""
    sites, described = whole["sdxl"]
    half = [site for site in sites if site.part != "text_encoder_2"][::2]
    tensors = adapters.make(row, half, settings(row.options(), rates=RATES, dim=7)).tensors(torch.float16)  # type: ignore[attr-defined]
    file = {name: tensor if tensor.dim() == 0 else tensor.to("meta") for name, tensor in tensors.items()}
    wanted = settings(row.options(), rates=RATES, dim_from_weights=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in file.items()}
    found = outline.outline(row, described, wanted, shapes).parameters
    assert not any(each.zero for each in found), "a file's values are taken over"
    assert {each.site for each in found} == set(modules.outlines(shapes))
    assert by_site(found) == by_site(built(adapters.make(row, half, settings(row.options(), rates=RATES, dim=7))))


@pytest.mark.parametrize(
    ("row", "options", "more", "parts", "told"),
    [
        ("lora", DeltaArgs(), {"dim": 0}, None, "a rank of 0 is too small"),
        ("lora", DeltaArgs(), {}, (), "no layer of this run takes LoRA"),
        ("loha", DeltaArgs(), {}, (), "no layer of this run takes LoHa"),
        ("lycoris", LycorisArgs(preset="unet-only"), {}, ("text_encoder",), "the preset unet-only has no layer"),
        ("lora", DeltaArgs(), {"dim_from_weights": True}, None, "there are no weights to take the ranks from"),
    ],
)
def test_what_cannot_be_trained_is_refused_alike(
    whole: Any, row: str, options: Any, more: dict[str, Any], parts: tuple[str, ...] | None, told: str
) -> None:
    sites, described = ([site for site in listed if parts is None or site.part in parts] for listed in whole["sd1"])
    wanted = settings(options, rates=RATES, **more)
    errors = []
    for asked, listed in ((adapters.make, sites), (outline.outline, described)):
        with pytest.raises(UserError, match=told) as caught:
            asked(adapters.row(row), listed, wanted)
        errors.append((caught.value.message, caught.value.hint, caught.value.where))
    assert errors[0] == errors[1]


def test_a_row_has_the_form_of_its_layers() -> None:
    for row in ROWS:
        assert (row.layer is None) is (row.form is None) is (row.kind is None)
        assert row.layer is None or (row.layer().form is row.form and row.layer().kind is row.kind)
        assert row.form is None or set(row.form.shapes((4, 3), 2)) == set(row.layer().ends)  # type: ignore[misc]
