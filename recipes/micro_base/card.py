"""Measures a micro model as its card reports it. `python -m recipes.micro_base.card models/micro/micro-sd.safetensors`."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from engine.errors import UserError
from recipes.micro_base import creature, drawing, quality, scenes
from recipes.micro_base.autoencoder import as_tensor
from recipes.micro_base.quality import Model
from recipes.micro_base.scenes import Scene

PROMPTS = 200
GUIDANCE = (1.0, 3.0, 7.0)
_NAMES = ("shape", "colour", "position", "ground", "all")


def prompts(scenes_of: tuple[Scene, ...], seed: int, count: int = PROMPTS) -> list[Scene]:
    """Scenes to ask for."""
    return scenes.drawn(random.Random(seed), count, scenes_of)


def measured(path: Path, seed: int = 1) -> Iterator[str]:
    """The card's tables, line by line; another seed asks for other scenes from other noise."""
    model = quality.load(path)
    yield "| prompts | guidance | " + " | ".join(_NAMES) + " |"
    yield "|---" * (len(_NAMES) + 2) + "|"
    for name, pool, written in (("all, tags", scenes.ALL, Scene.tags), ("held out, tags", scenes.HELD_OUT, Scene.tags),
                                ("held out, sentences", scenes.HELD_OUT, Scene.sentence)):  # fmt: skip
        wanted = prompts(pool, seed)
        for scale in GUIDANCE:
            made = quality.pictures(model, [written(scene) for scene in wanted], 1000 * seed, scale)
            found = quality.accuracy(made, wanted)
            yield f"| {name} | {scale:g} | " + " | ".join(str(found[attribute]) for attribute in _NAMES) + " |"
    yield ""
    known, new = _psnr(model, drawn(200)), _psnr(model, creatures(50))
    yield f"autoencoder: {known:.1f} dB on scenes, {new:.1f} dB on the creature, which it never saw"


def drawn(count: int) -> torch.Tensor:
    """Pictures of scenes, uint8 [N, 3, 64, 64]."""
    rng = random.Random(2)
    return torch.stack([as_tensor(drawing.draw(scene, rng)) for scene in scenes.drawn(rng, count, scenes.ALL)])


def creatures(count: int) -> torch.Tensor:
    """Pictures of the creature on all grounds, uint8 [N, 3, 64, 64]."""
    rng = random.Random(3)
    grounds = list(scenes.GROUNDS)
    return torch.stack([as_tensor(creature.draw(creature.pose(rng), rng.choice(grounds), rng)) for _ in range(count)])


def _psnr(model: Model, pictures: torch.Tensor) -> float:
    """The mean peak signal-to-noise ratio of pictures through the autoencoder, in decibels."""
    error = (quality.through(model, pictures).float() - pictures.float()).square().mean((1, 2, 3))
    return float((10 * torch.log10(255**2 / error)).mean())


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes.micro_base.card", description=__doc__)
    parser.add_argument("model", type=Path, help="a micro model's file")
    parser.add_argument("--seed", type=int, default=1, help="of prompts and noise (1, the card's)")
    chosen = parser.parse_args()
    if not chosen.model.exists():
        parser.error(f"there is no file {chosen.model}")  # the engine's own refusal names a setting, which this command does not have
    try:
        for line in measured(chosen.model, chosen.seed):
            print(line, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
