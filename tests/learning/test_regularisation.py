"""Regularisation pictures keep the class: a circle stays a circle although a creature was learned under the name of one."""

from __future__ import annotations

import pytest
from lessons import CLASS, NOT_LIKE, made
from torch import Tensor

from engine.training.session import Result
from recipes.micro_base import creature, quality
from recipes.micro_base.quality import Accuracy, Model

pytestmark = pytest.mark.learning

PROMPTS = [CLASS] * 100


def right(pictures: Tensor) -> Accuracy:
    """How many show the class and not the creature, whose outline is as round."""
    pairs = zip(pictures, quality.likeness(pictures).tolist(), strict=True)
    return Accuracy(sum(quality.look(picture).shape == CLASS and likeness < NOT_LIKE for picture, likeness in pairs), len(pictures))


def test_regularisation_pictures_keep_the_class(base: Model, named: Result, regularised: Result) -> None:
    before, without, kept = (right(made(base, file, PROMPTS)) for file in (None, named.file, regularised.file))
    print(f"base {before}, without {without}, with regularisation {kept}")  # noqa: T201 for -rP
    assert before.share - without.share > before.margin + without.margin
    assert kept.share >= before.share - before.margin


def test_the_concept_is_learned_beside_them(base: Model, regularised: Result) -> None:
    assert float(quality.likeness(made(base, regularised.file, [f"{creature.TRIGGER} {CLASS}"] * 40)).mean()) > NOT_LIKE
