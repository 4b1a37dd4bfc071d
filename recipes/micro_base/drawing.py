"""Pictures of scenes, 64 x 64. They are drawn four times as large and averaged down, every one a little different."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw

from recipes.micro_base.scenes import COLOURS, GROUNDS, POSITIONS, SHAPES, SIZES, Colour, Scene

SIDE = 64  # pixels
_FINE = 4  # drawn so many times as large
Point = tuple[float, float]


class Canvas:
    """A picture under way; all coordinates in pixels of one of 64 x 64."""

    def __init__(self, ground: Colour) -> None:
        self.image = Image.new("RGB", (SIDE * _FINE, SIDE * _FINE), ground)
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([(x * _FINE, y * _FINE) for x, y in points], fill=colour)

    def ellipse(self, center: Point, radii: Point, colour: Colour) -> None:
        """A filled ellipse with horizontal and vertical radius."""
        (x, y), (a, b) = center, radii
        self._draw.ellipse([(x - a) * _FINE, (y - b) * _FINE, (x + a) * _FINE, (y + b) * _FINE], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A line through points, with round joints."""
        self._draw.line([(x * _FINE, y * _FINE) for x, y in points], fill=colour, width=round(width * _FINE), joint="curve")

    def finished(self, side: int = SIDE) -> Image.Image:
        """The picture, `side` pixels wide and high."""
        return self.image.resize((side, side), Image.Resampling.BOX)


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """A picture of a scene; `rng` moves it by up to 3 pixels, scales it by up to a tenth, and shifts its colours slightly."""
    radius = SIZES[scene.size] * rng.uniform(0.9, 1.1)
    x, y = POSITIONS[scene.position]
    center = (x + rng.uniform(-3, 3), y + rng.uniform(-3, 3))
    ground = shifted(GROUNDS[scene.ground], rng)
    colour = shifted(COLOURS[scene.colour], rng)
    canvas = Canvas(ground)
    shape = outline(scene.shape, center, radius)
    canvas.polygon(shape, colour)
    if scene.texture != "plain":
        _texture(canvas, scene.texture, shape, center, radius, darker(colour))
    return canvas.finished()


def outline(shape: str, center: Point, radius: float) -> list[Point]:
    """The corners of a shape inside a circle."""
    x, y = center
    if shape == "circle":
        return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in _turn(48)]
    if shape == "square":
        half = radius * 0.85
        return [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    if shape == "triangle":
        return [(x, y - radius), (x + radius, y + radius * 0.8), (x - radius, y + radius * 0.8)]
    if shape == "cross":
        arm = radius * 0.33
        corners = [(-arm, -radius), (arm, -radius), (arm, -arm), (radius, -arm), (radius, arm), (arm, arm)]
        return [(x + a, y + b) for a, b in corners + [(-a, -b) for a, b in corners]]
    if shape == "star":
        reach = [radius * (1.1 if point % 2 == 0 else 0.45) for point in range(10)]
        return [(x + r * math.sin(angle), y - r * math.cos(angle)) for r, angle in zip(reach, _turn(10), strict=True)]
    raise ValueError(f"no shape is called {shape}")


def clutter(rng: random.Random) -> Image.Image:
    """Anything at all, so that the autoencoder learns more than six attributes: ellipses, polygons and lines in random colours."""
    canvas = Canvas(_any_colour(rng))
    for _ in range(rng.randint(1, 9)):
        x, y, size = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(2, 24)
        kind = rng.randrange(3)
        if kind == 0:
            canvas.ellipse((x, y), (size, size * rng.uniform(0.3, 1)), _any_colour(rng))
        elif kind == 1:
            corners = sorted(rng.uniform(0, 2 * math.pi) for _ in range(rng.randint(3, 6)))
            canvas.polygon([(x + size * math.cos(angle), y + size * math.sin(angle)) for angle in corners], _any_colour(rng))
        else:
            canvas.line([(x, y), (rng.uniform(0, SIDE), rng.uniform(0, SIDE))], rng.uniform(1, 4), _any_colour(rng))
    return canvas.finished()


def figure(rng: random.Random) -> Image.Image:
    """Somebody in random colours: a body with ears, eyes, limbs and a belly, each of them there or not, mirrored left to right."""
    canvas = Canvas(_any_colour(rng))
    x, y = 32 + rng.uniform(-8, 8), 34 + rng.uniform(-6, 6)
    wide, high = rng.uniform(7, 18), rng.uniform(7, 20)
    skin, accent, limb = _any_colour(rng), _any_colour(rng), _any_colour(rng)
    for side in (-1, 1):
        if rng.random() < 0.7:
            tip = (x + side * wide * rng.uniform(0.4, 1.3), y - high * rng.uniform(1.1, 1.7))
            canvas.polygon([(x + side * wide * 0.9, y - high * 0.4), (x + side * wide * 0.2, y - high * 0.9), tip], skin)
        if rng.random() < 0.7:
            hand = (x + side * wide * 1.5, y + rng.uniform(-1, 1) * high)
            canvas.line([(x + side * wide * 0.8, y), hand], rng.uniform(2, 5), limb)
    if rng.random() < 0.5:
        canvas.polygon(outline(rng.choice(SHAPES), (x, y), high), skin)
    else:
        canvas.ellipse((x, y), (wide, high), skin)
    if rng.random() < 0.7:
        canvas.ellipse((x, y + high * 0.4), (wide * rng.uniform(0.3, 0.8), high * rng.uniform(0.2, 0.6)), accent)
    eye, white, pupil = rng.uniform(1.5, 5), _any_colour(rng), _any_colour(rng)
    for side in (-1, 1):
        center = (x + side * wide * 0.4, y - high * rng.uniform(0.3, 0.5))
        canvas.ellipse(center, (eye, eye), white)
        canvas.ellipse(center, (eye / 2, eye / 2), pupil)
    return canvas.finished()


def shifted(colour: Colour, rng: random.Random, most: int = 8) -> Colour:
    """A colour next to this one."""
    red, green, blue = (min(255, max(0, value + rng.randint(-most, most))) for value in colour)
    return red, green, blue


def darker(colour: Colour, factor: float = 0.45) -> Colour:
    """The same hue with less light."""
    red, green, blue = (round(value * factor) for value in colour)
    return red, green, blue


def _texture(canvas: Canvas, texture: str, shape: Sequence[Point], center: Point, radius: float, colour: Colour) -> None:
    """Stripes or dots of another colour, within the shape."""
    mask = Image.new("L", canvas.image.size, 0)
    ImageDraw.Draw(mask).polygon([(x * _FINE, y * _FINE) for x, y in shape], fill=255)
    marks = Image.new("L", canvas.image.size, 0)
    pen = ImageDraw.Draw(marks)
    (x, y), period = center, 7.0
    for row in range(-4, 5):
        middle = (y + row * period) * _FINE
        if texture == "striped":
            half = period / 4 * _FINE
            pen.rectangle([0, middle - half, marks.width, middle + half], fill=255)
            continue
        for column in range(-4, 5):
            across, dot = (x + column * period) * _FINE, period / 3.2 * _FINE
            pen.ellipse([across - dot, middle - dot, across + dot, middle + dot], fill=255)
    canvas.image.paste(colour, mask=ImageChops.multiply(marks, mask))


def _turn(steps: int) -> list[float]:
    """Angles all round, in radians."""
    return [2 * math.pi * step / steps for step in range(steps)]


def _any_colour(rng: random.Random) -> Colour:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
