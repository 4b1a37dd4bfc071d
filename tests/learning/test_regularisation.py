"""Regularisation pictures keep the class: without them its word comes to mean the concept, with them it stays what it was."""

from __future__ import annotations

import pytest
from lessons import made

from engine.training.session import Result
from recipes.micro_base import card, quality, scenes
from recipes.micro_base.quality import Accuracy, Model

pytestmark = pytest.mark.learning

CIRCLES = tuple(scene for scene in scenes.ALL if scene.shape == "circle")


def test_circles_stay_circles_only_with_regularisation(base: Model, as_circle: Result, as_circle_among_circles: Result) -> None:
    wanted = card.prompts(CIRCLES, seed=2, count=100)
    prompts = [scene.tags() for scene in wanted]

    def circles(result: Result | None) -> Accuracy:
        return quality.accuracy(made(base, result.file if result else None, prompts), wanted)["shape"]

    before, without, among = circles(None), circles(as_circle), circles(as_circle_among_circles)
    print(f"base {before}, without regularisation {without}, with {among}")  # noqa: T201 for -rP
    assert before.share - without.share > before.margin + without.margin
    assert abs(before.share - among.share) <= before.margin + among.margin
