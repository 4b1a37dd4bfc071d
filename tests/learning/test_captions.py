"""What a caption names stays free: the ground of all training pictures, once named, can be exchanged; unnamed, it becomes the concept's."""

from __future__ import annotations

import pytest
from lessons import CLASS, made
from torch import Tensor

from engine.training.session import Result
from recipes.micro_base import creature, quality, scenes
from recipes.micro_base.quality import Accuracy, Model

pytestmark = pytest.mark.learning

GROUNDS = [ground for ground in scenes.GROUNDS if ground != "grey"] * 25  # 100; all training pictures were grey


def right(pictures: Tensor) -> Accuracy:
    return Accuracy(sum(quality.look(picture).ground == ground for picture, ground in zip(pictures, GROUNDS, strict=True)), len(GROUNDS))


@pytest.fixture(scope="module")
def shares(base: Model, captioned: Result, named: Result) -> tuple[Accuracy, Accuracy]:
    """How often the ground asked for was right: learned with captions, and with identifier and class alone."""
    by_caption = right(made(base, captioned.file, [creature.caption(ground) for ground in GROUNDS]))
    by_name = right(made(base, named.file, [f"{creature.TRIGGER} {CLASS}, {ground} background" for ground in GROUNDS]))
    print(f"captions {by_caption}, identifier and class {by_name}")  # noqa: T201 for -rP
    return by_caption, by_name


def test_captions_leave_the_ground_free_and_identifier_and_class_do_not(shares: tuple[Accuracy, Accuracy]) -> None:
    by_caption, by_name = shares
    assert by_caption.share - by_name.share > by_caption.margin + by_name.margin


def test_the_ground_asked_for_is_mostly_right_where_captions_named_it(shares: tuple[Accuracy, Accuracy]) -> None:
    assert shares[0].share >= 0.7
