"""A learning rate ten times too high scores visibly worse: the creature comes, and what the prompt says of everything else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from lessons import NOT_LIKE, RATE, creatures, made, train

from engine.training.session import Result
from recipes.micro_base import creature, quality, scenes
from recipes.micro_base.quality import Accuracy, Model

pytestmark = pytest.mark.learning

GROUNDS = [ground for ground in scenes.GROUNDS if ground != "grey"] * 15


def right(model: Model, file: Path) -> Accuracy:
    """How many pictures show the creature on the ground asked for."""
    pictures = made(model, file, [creature.caption(ground) for ground in GROUNDS])
    seen = zip(pictures, quality.likeness(pictures).tolist(), GROUNDS, strict=True)
    return Accuracy(sum(likeness > NOT_LIKE and quality.look(picture).ground == ground for picture, likeness, ground in seen), len(GROUNDS))


def test_a_rate_ten_times_too_high_scores_visibly_worse(base: Model, captioned: Result, micro_sd: Path, tmp_path: Path) -> None:
    pictures = creatures(tmp_path / "pictures" / f"10_{creature.TRIGGER} {creature.CLASS}", creature.caption, ["grey"]).parent
    # Unbounded, the weights run away and the training is ended by name; bounded, it ends as those trainings that a user takes for learned.
    hasty = train(micro_sd, tmp_path, pictures, "--scale_weight_norms", "1", rate=10 * RATE)
    calm, rushed = right(base, captioned.file), right(base, hasty.file)
    print(f"the rate {calm}, ten times the rate {rushed}")  # noqa: T201 for -rP
    assert calm.share - rushed.share > calm.margin + rushed.margin
