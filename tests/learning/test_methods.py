"""The fifth method of captions: the trigger learns the tags that were deleted, and those that were kept stay free."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from lessons import PICTURES, SEED, made, train
from torch import Tensor

from engine import files, seeds
from engine.config.schema_data import DataConfig
from engine.tools.captions.plan import Request
from engine.tools.captions.run import run
from engine.tools.captions.talk import Talk
from recipes.micro_base import drawing, quality, scenes
from recipes.micro_base.quality import Accuracy, Model
from recipes.micro_base.scenes import Scene

pytestmark = pytest.mark.learning

TRIGGER = "zeppy"
SHAPE, COLOUR, GROUND = "star", "purple", "grey"
GROUNDS = [ground for ground in scenes.GROUNDS if ground != GROUND] * 10
Shares = tuple[Accuracy, Accuracy]
METHOD = os.environ.get("LEARNING_METHOD", "5")  # 2 keeps all tags, so that the trigger learns less: it shows what deleting them is for
REQUESTS = {
    "5": Request("method", ("5",), trigger=TRIGGER, learn=(SHAPE, COLOUR)),
    "2": Request("method", ("2",), name=TRIGGER),
}


def concept(folder: Path) -> Path:
    """Purple stars on grey, in several sizes and places, with all their tags as captions."""
    place = folder / "10_label"
    place.mkdir(parents=True)
    for number in range(PICTURES):
        rng = random.Random(seeds.derived("method", SEED, number))
        scene = Scene(SHAPE, COLOUR, rng.choice(list(scenes.SIZES)), rng.choice(list(scenes.POSITIONS)), GROUND, "plain")
        drawing.draw(scene, rng).save(place / f"{number:02}.png")
        files.write_text(place / f"{number:02}.txt", scene.tags())
    return folder


def seen(pictures: Tensor) -> Shares:
    """How many pictures show the concept, and how many the ground that was asked for, which no training picture had."""
    looked = [quality.look(picture) for picture in pictures]
    carried = sum((one.shape, one.colour) == (SHAPE, COLOUR) for one in looked)
    free = sum(one.ground == ground for one, ground in zip(looked, GROUNDS, strict=True))
    return Accuracy(carried, len(GROUNDS)), Accuracy(free, len(GROUNDS))


@pytest.fixture(scope="module")
def shares(base: Model, micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Shares:
    """What a prompt of trigger and ground gives after the captions of the concept were edited and learned."""
    folder = tmp_path_factory.mktemp("methods")
    place = concept(folder / "pictures")
    said: list[str] = []
    assert run(DataConfig(train_data_dir=str(place)), REQUESTS[METHOD], Talk(said.append, yes=True)) == 0
    assert "set keep_tokens = 1 " in "\n".join(said)
    learned = train(micro_sd, folder, place, "--keep_tokens", "1", "--shuffle_caption")
    found = seen(made(base, learned.file, [f"{TRIGGER}, {ground} background" for ground in GROUNDS]))
    print(f"method {METHOD}: the trigger alone gives a {COLOUR} {SHAPE} {found[0]}, the ground asked for {found[1]}")  # noqa: T201 for -rP
    return found


def test_the_trigger_carries_what_was_deleted(shares: Shares) -> None:
    """The base never draws one for a word that it does not know."""
    assert shares[0].share > 0.4


def test_what_was_kept_stays_free(shares: Shares) -> None:
    assert shares[1].share >= 0.7
