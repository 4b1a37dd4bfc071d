"""The little world that the micro models know, and its words. A scene is one shape on a plain ground.

A scene is six attributes. A tenth of the combinations of shape, colour, position and ground never occurs in training, so that a test can
ask whether the model has learned the words or the pictures.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product

from engine import seeds

Colour = tuple[int, int, int]  # sRGB, 0 to 255

SHAPES = ("circle", "square", "triangle", "cross", "star")
COLOURS: dict[str, Colour] = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (240, 220, 30),
    "green": (40, 160, 60),
    "blue": (35, 80, 215),
    "purple": (140, 50, 180),
}
SIZES = {"small": 11.5, "large": 17.0}  # the radius of the circle around the shape, in pixels of a 64 x 64 picture
POSITIONS = {"center": (32.0, 32.0), "left": (19.0, 32.0), "right": (45.0, 32.0), "top": (32.0, 19.0), "bottom": (32.0, 45.0)}
GROUNDS: dict[str, Colour] = {
    "white": (250, 250, 250),
    "black": (12, 12, 12),
    "grey": (128, 128, 128),
    "pink": (255, 190, 210),
    "sky": (165, 215, 250),
}
TEXTURES = ("plain", "striped", "dotted")


@dataclass(frozen=True)
class Scene:
    """What is in a picture."""

    shape: str
    colour: str
    size: str
    position: str
    ground: str
    texture: str

    @property
    def held_out(self) -> bool:
        """Whether the combination is kept out of training: by its own hash, so that it never depends on what else there is."""
        key = f"{self.shape} {self.colour} {self.position} {self.ground}"
        return seeds.derived(0, "held out", key) % 10 == 0

    def tags(self) -> str:
        """The caption as comma-separated tags."""
        return f"{self.shape}, {self.colour}, {self.size}, {self.texture}, {self.position}, {self.ground} background"

    def sentence(self) -> str:
        """The caption as a sentence."""
        where = "in the center" if self.position == "center" else f"at the {self.position}"
        return f"a {self.size} {self.texture} {self.colour} {self.shape} {where} on a {self.ground} background"

    def caption_file(self) -> str:
        """What the text file beside the picture holds: a line of tags and a sentence."""
        return f"{self.tags()}\n{self.sentence()}"


WORDS: dict[str, tuple[str, ...]] = {  # in the order of a scene's attributes
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "position": tuple(POSITIONS),
    "ground": tuple(GROUNDS),
    "texture": TEXTURES,
}
ALL = tuple(Scene(*words) for words in product(*WORDS.values()))
TRAINED = tuple(scene for scene in ALL if not scene.held_out)
HELD_OUT = tuple(scene for scene in ALL if scene.held_out)


def drawn(rng: random.Random, count: int, scenes: tuple[Scene, ...] = TRAINED) -> list[Scene]:
    """So many scenes, every combination as often as the others, in random order."""
    pool: list[Scene] = []
    while len(pool) < count:
        pool.extend(rng.sample(scenes, min(len(scenes), count - len(pool))))
    return pool


def mistaken(scene: Scene, rng: random.Random) -> Scene:
    """The scene as it is told by somebody who gets one word wrong; never as one of those that are held out."""
    attribute = rng.choice(list(WORDS))
    told = [replace(scene, **{attribute: word}) for word in WORDS[attribute] if word != getattr(scene, attribute)]
    return rng.choice([other for other in told if not other.held_out] or [scene])
