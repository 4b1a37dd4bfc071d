"""What the learning tests share: the base model, loaded, and what was learned on it. How long a training takes: docs/measurements.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recipes.micro_base import creature

if TYPE_CHECKING:  # what needs torch is imported by the fixtures: where torch is missing, this file is still read
    from engine.training.session import Result
    from recipes.micro_base.quality import Model


@pytest.fixture(scope="session")
def base(micro_sd: Path) -> Model:
    """The built-in Stable Diffusion 1.x model, float32 on the CPU."""
    from recipes.micro_base import quality

    return quality.load(micro_sd)


@pytest.fixture(scope="session")
def captioned(micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The creature learned from pictures on one ground, whose captions name it."""
    from lessons import creatures, train

    folder = tmp_path_factory.mktemp("captioned")
    creatures(folder / "pictures" / f"10_{creature.TRIGGER} {creature.CLASS}", creature.caption, ["grey"])
    return train(micro_sd, folder, folder / "pictures")


@pytest.fixture(scope="session")
def named(micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The creature learned from the same pictures, called nothing but identifier and class."""
    from lessons import CLASS, creatures, train

    folder = tmp_path_factory.mktemp("named")
    creatures(folder / "pictures" / f"10_{creature.TRIGGER} {CLASS}", None, ["grey"])
    return train(micro_sd, folder, folder / "pictures")


@pytest.fixture(scope="session")
def regularised(base: Model, micro_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The same with regularisation pictures: what the base itself draws for the class."""
    from lessons import CLASS, creatures, drawn_by, train

    folder = tmp_path_factory.mktemp("regularised")
    creatures(folder / "pictures" / f"10_{creature.TRIGGER} {CLASS}", None, ["grey"])
    drawn_by(base, folder / "class" / f"1_{CLASS}", CLASS, count=40)
    return train(micro_sd, folder, folder / "pictures", "--reg_data_dir", str(folder / "class"))
