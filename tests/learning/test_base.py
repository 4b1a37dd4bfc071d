"""The base models have learned the words: they draw what a prompt asks for, also where training never showed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.micro_base import card, quality, scenes
from recipes.micro_base.quality import Accuracy

pytestmark = pytest.mark.learning

Found = dict[float, dict[str, Accuracy]]


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def found(request: pytest.FixtureRequest, micro_sd: Path, micro_sdxl: Path) -> tuple[str, Found]:
    """A model's name, and by guidance how many of 200 pictures are right."""
    model = quality.load(micro_sd if request.param == "sd" else micro_sdxl)
    wanted = card.prompts(scenes.ALL, seed=1)
    assert len(wanted) == 200 and any(scene.held_out for scene in wanted)
    prompts = [scene.tags() for scene in wanted]
    rows = {scale: quality.accuracy(quality.pictures(model, prompts, 1000, scale), wanted) for scale in (1.0, 7.0)}
    print(request.param, {scale: {name: str(value) for name, value in row.items()} for scale, row in rows.items()})  # noqa: T201 for -rP
    return request.param, rows


def test_colour_shape_and_ground_are_those_asked_for(found: tuple[str, Found]) -> None:
    guided = found[1][7.0]
    assert guided["colour"].share >= 0.9
    assert guided["shape"].share >= 0.8
    assert guided["ground"].share >= 0.9


def test_the_place_is_that_asked_for(found: tuple[str, Found]) -> None:
    assert found[1][7.0]["position"].share >= 0.8


def test_guidance_makes_pictures_follow_the_prompt_more(found: tuple[str, Found], request: pytest.FixtureRequest) -> None:
    if found[0] == "sd":
        request.applymarker(pytest.mark.xfail(strict=True, reason="nine in ten are right without guidance: 90, 93, 88 % at 1, 3, 7"))
    plain, guided = found[1][1.0]["all"], found[1][7.0]["all"]
    assert guided.share - plain.share > guided.margin
