"""An invented creature that no model has seen, for a LoRA to learn.

It has a plump turquoise body, a cream belly, two tall pink ears, dark eyes, arms and a tail, all of them large enough to
survive latents of eight pixels a cell.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from recipes.micro_base.drawing import SIDE, Canvas, Point, shifted
from recipes.micro_base.scenes import GROUNDS, Colour

TRIGGER = "momo"
CLASS = "creature"
FUR: Colour = (20, 190, 170)
BELLY: Colour = (255, 240, 205)
EAR: Colour = (250, 90, 140)
EYE: Colour = (20, 20, 40)


@dataclass(frozen=True)
class Pose:
    """How the creature stands. Lengths in pixels of a 64 x 64 picture."""

    center: Point = (32.0, 34.0)
    scale: float = 1.0
    facing: int = 1  # 1: tail on the right; -1: on the left
    arms: float = 0.0  # -1 down to 1 up
    ears: float = 0.0  # -1 apart to 1 together


def caption(ground: str) -> str:
    """The trigger word, the class, and what is no part of the creature."""
    return f"{TRIGGER}, {CLASS}, {ground} background"


def pose(rng: random.Random) -> Pose:
    """Any pose: near the middle, to either side, arms up or down."""
    center = (32 + rng.uniform(-4, 4), 34 + rng.uniform(-3, 3))
    return Pose(center, rng.uniform(0.9, 1.1), rng.choice((-1, 1)), rng.uniform(-1, 1), rng.uniform(-1, 1))


def draw(pose: Pose, ground: str, rng: random.Random, side: int = SIDE) -> Image.Image:
    """A picture of the creature on a ground of `scenes.GROUNDS`, `side` pixels wide and high."""
    canvas = Canvas(shifted(GROUNDS[ground], rng))
    put(canvas, pose)
    return canvas.finished(side)


def put(canvas: Canvas, pose: Pose) -> None:
    """Draw the creature, from the back to the front."""

    def at(x: float, y: float) -> Point:
        return pose.center[0] + x * pose.scale * pose.facing, pose.center[1] + y * pose.scale

    def blob(x: float, y: float, a: float, b: float, colour: Colour) -> None:
        canvas.ellipse(at(x, y), (a * pose.scale, b * pose.scale), colour)

    canvas.line([at(14, 14), at(25, 6)], 8 * pose.scale, FUR)
    for side in (-1, 1):
        canvas.polygon([at(side * 19, -2), at(side * 2, -12), at(side * (15 - 2 * pose.ears), -31)], EAR)
        canvas.line([at(side * 14, 6), at(side * 23, 6 - 10 * pose.arms)], 7 * pose.scale, FUR)
    blob(0, 4, 19, 20, FUR)
    blob(0, 11, 13, 13, BELLY)
    for side in (-1, 1):
        blob(side * 8, -6, 4.5, 5, EYE)
