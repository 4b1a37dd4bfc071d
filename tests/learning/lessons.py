"""Small trainings on the built-in base model, and what came of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from runs import config, quiet
from torch import Tensor

from engine import adapters, files, seeds, tensorfile
from engine.training import train as training
from engine.training.session import Result
from recipes.micro_base import creature, quality
from recipes.micro_base.quality import Model

SEED = int(os.environ.get("LEARNING_SEED", "1"))  # of the poses, the training and the pictures made: another one shows the spread
PICTURES = 12  # of the creature
CLASS = "circle"  # what it is called where it has no captions: a word that the base knows, as in DreamBooth
STEPS = 150
RATE = 5e-3
NOT_LIKE = 0.6  # likeness that no picture of a scene reaches (tests/test_recipes_micro_base.py)
Caption = Callable[[str], str]  # the ground's name -> the caption


def creatures(folder: Path, caption: Caption | None, grounds: Sequence[str], count: int = PICTURES, first: int = 0) -> Path:
    """A folder of pictures of the creature in different poses, with captions where they are given."""
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        rng = random.Random(seeds.derived("lesson", SEED, number))
        ground = grounds[number % len(grounds)]
        creature.draw(creature.pose(rng), ground, rng).save(folder / f"{number:02d}.png")
        if caption:
            files.write_text(folder / f"{number:02d}.txt", caption(ground))
    return folder


def drawn_by(model: Model, folder: Path, prompt: str, count: int) -> Path:
    """A folder of pictures that a model makes of one prompt, without captions."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(quality.pictures(model, [prompt] * count, 9000, 3.0)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number:02d}.png")
    return folder


def train(base: Path, folder: Path, pictures: Path, *more: str, rate: float = RATE) -> Result:
    """Train a LoRA on the folders in `pictures`, quietly; what is written goes into `folder`."""
    own = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": pictures,
        "resolution": 64,
        "min_bucket_reso": 64,
        "train_batch_size": 5,
        "network_dim": 16,
        "network_alpha": 16,
        "max_train_steps": STEPS,
        "learning_rate": rate,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": "5%",
        "device": "cpu",
        "seed": SEED,
    }
    flags = [word for name, value in own.items() for word in (f"--{name}", str(value))]
    flags += ["--network_args", "conv_dim=16", "conv_alpha=16", "--debiased_estimation_loss"]
    return training.train(config(folder, *flags, *more), reporter=quiet()[0])


@contextmanager
def learned(model: Model, file: Path, strength: float = 1.0) -> Iterator[Model]:
    """The model with a LoRA file in front of its layers."""
    networks = {"unet": model.network.unet, **model.encoders}
    family = model.network.family
    sites = [site for part, network in networks.items() for site in family.sites(part, network)]
    method = adapters.from_file(sites, tensorfile.read(file))
    method.attach()
    method.strength = strength
    try:
        yield model
    finally:
        method.detach()


def made(model: Model, file: Path | None, prompts: Sequence[str], strength: float = 1.0, scale: float = 3.0) -> Tensor:
    """Pictures of prompts, uint8 [N, 3, 64, 64], with the LoRA at a strength or without one; always from the same noise."""
    if file is None:
        return quality.pictures(model, prompts, 500 * SEED, scale)
    with learned(model, file, strength):
        return quality.pictures(model, prompts, 500 * SEED, scale)
