"""The fifth method of captions: the trigger learns the tags that were deleted, and those that were kept stay free."""

from __future__ import annotations

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


def taught(micro_sd: Path, base: Model, folder: Path, request: Request) -> Shares:
    """What a prompt of trigger and ground gives after the captions of the concept were edited and learned."""
    place = concept(folder / "pictures")
    said: list[str] = []
    assert run(DataConfig(train_data_dir=str(place)), request, Talk(said.append, yes=True)) == 0
    assert "set keep_tokens = 1 " in "\n".join(said)
    learned = train(micro_sd, folder, place, "--keep_tokens", "1", "--shuffle_caption")
    return seen(made(base, learned.file, [f"{TRIGGER}, {ground} background" for ground in GROUNDS]))


@pytest.fixture(scope="module")
def shares(base: Model, micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shares]:
    """The base model, and what method 5 and method 2 teach it."""
    folder = tmp_path_factory.mktemp("methods")
    found = {
        "base": seen(made(base, None, [f"{TRIGGER}, {ground} background" for ground in GROUNDS])),
        "5": taught(micro_sd, base, folder / "5", Request("method", ("5",), trigger=TRIGGER, learn=(SHAPE, COLOUR))),
        "2": taught(micro_sd, base, folder / "2", Request("method", ("2",), name=TRIGGER)),
    }
    for name, (carried, free) in found.items():
        print(f"{name}: the trigger alone gives a {COLOUR} {SHAPE} {carried}, the ground asked for {free}")  # noqa: T201 for -rP
    return found


def test_the_trigger_carries_what_was_deleted_and_the_ground_stays_free(shares: dict[str, Shares]) -> None:
    carried, free = shares["5"]
    assert carried.share - shares["base"][0].share > carried.margin + shares["base"][0].margin
    assert free.share >= 0.7
