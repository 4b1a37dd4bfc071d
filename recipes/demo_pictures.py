"""Draws the demo's pictures, `train_data/demo/`.

They show an invented creature in twelve poses, with captions that name what else is there.

    python -m recipes.demo_pictures

The pictures are checked in; drawing them again gives the same ones.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image

from engine import files, seeds
from recipes.micro_base import creature, scenes

FOLDER = f"10_{creature.TRIGGER} {creature.CLASS}"
COUNT = 12
SIDE = 256  # pixels; what trains on them makes them smaller


def picture(number: int) -> Image.Image:
    """Picture `number`, from 0."""
    rng = random.Random(seeds.derived("demo", number))
    return creature.draw(creature.pose(rng), ground(number), rng, SIDE)


def ground(number: int) -> str:
    """The ground of picture `number`: each as often as the others."""
    return list(scenes.GROUNDS)[number % len(scenes.GROUNDS)]


def caption(number: int) -> str:
    """The caption of picture `number`."""
    return creature.caption(ground(number))


def main() -> None:
    """Write the pictures and their captions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "train_data" / "demo")
    folder: Path = parser.parse_args().out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(COUNT):
        target = folder / f"{number + 1:02d}.png"
        picture(number).save(target, optimize=True)
        files.write_text(target.with_suffix(".txt"), caption(number) + "\n")


if __name__ == "__main__":
    main()
