"""The base models have learned the words: they draw what a prompt asks for, also where training never showed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.micro_base import card, quality, scenes
from recipes.micro_base.quality import Accuracy, Model

pytestmark = pytest.mark.learning


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def model(request: pytest.FixtureRequest, micro_sd: Path, micro_sdxl: Path) -> Model:
    """A base model, loaded."""
    return quality.load(micro_sd if request.param == "sd" else micro_sdxl)


def right(model: Model, scale: float) -> dict[str, Accuracy]:
    """How many of 200 pictures are what their prompt asks for, at this guidance."""
    wanted = card.prompts(scenes.ALL, seed=1)
    assert len(wanted) == 200
    found = quality.accuracy(quality.pictures(model, [scene.tags() for scene in wanted], 1000, scale), wanted)
    print(f"{model.network.family.name}, guidance {scale:g}:", {name: str(value) for name, value in found.items()})  # noqa: T201 for -rP
    return found


@pytest.fixture(scope="module")
def guided(model: Model) -> dict[str, Accuracy]:
    """What is right at guidance 7."""
    return right(model, 7.0)


def test_pictures_are_what_the_prompt_asks_for(guided: dict[str, Accuracy]) -> None:
    assert any(scene.held_out for scene in card.prompts(scenes.ALL, seed=1))
    assert guided["colour"].share >= 0.9
    assert guided["shape"].share >= 0.8
    assert guided["position"].share >= 0.8
    assert guided["ground"].share >= 0.9


def test_guidance_of_7_makes_more_right_than_none(model: Model, guided: dict[str, Accuracy]) -> None:
    assert guided["all"].share - right(model, 1.0)["all"].share > guided["all"].margin
