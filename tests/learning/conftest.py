"""What the learning tests share: the base model, loaded, and what was learned on it. Each training takes 25 seconds at most."""

from __future__ import annotations

from pathlib import Path

import pytest
from lessons import circles, creatures, train

from engine.training.session import Result
from recipes.micro_base import creature, quality, scenes
from recipes.micro_base.quality import Model

NAME = f"{creature.TRIGGER} {creature.CLASS}"


@pytest.fixture(scope="session")
def base(micro_sd: Path) -> Model:
    """The built-in Stable Diffusion 1.x model, float32 on the CPU."""
    return quality.load(micro_sd)


@pytest.fixture(scope="session")
def captioned(micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The creature learned from pictures on one ground, whose captions name it."""
    folder = tmp_path_factory.mktemp("captioned")
    creatures(folder / "pictures" / f"10_{NAME}", lambda ground: f"{creature.TRIGGER}, {creature.CLASS}, {ground} background", ["grey"])
    return train(micro_sd, folder, folder / "pictures")


@pytest.fixture(scope="session")
def named(micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The creature learned from the same pictures, called nothing but identifier and class."""
    folder = tmp_path_factory.mktemp("named")
    creatures(folder / "pictures" / f"10_{NAME}", None, ["grey"])
    return train(micro_sd, folder, folder / "pictures")


@pytest.fixture(scope="session")
def as_circle(micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The creature learned as a kind of circle."""
    folder = tmp_path_factory.mktemp("as circle")
    creatures(folder / "pictures" / f"10_{creature.TRIGGER} circle", None, list(scenes.GROUNDS))
    return train(micro_sd, folder, folder / "pictures")


@pytest.fixture(scope="session")
def as_circle_among_circles(micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The same with regularisation pictures of circles."""
    folder = tmp_path_factory.mktemp("among circles")
    creatures(folder / "pictures" / f"10_{creature.TRIGGER} circle", None, list(scenes.GROUNDS))
    circles(folder / "reg" / "1_circle")
    return train(micro_sd, folder, folder / "pictures", "--reg_data_dir", str(folder / "reg"))
