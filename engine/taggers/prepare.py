"""RGB pixels -> the numbers that a tagger takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.taggers.models import Input

if TYPE_CHECKING:
    from PIL import Image

_HUGE = 8  # times the model's side; beyond it averages of pixels stand for them, which changes numbers by less than their rounding


def prepare(picture: Image.Image, row: Input) -> NDArray[np.float32]:
    """An upright RGB picture without transparency -> [size, size, 3] or [3, size, size], as `row.layout` has it."""
    pixels = np.asarray(_FITS[row.fit](picture, row), dtype=np.float32)
    if row.order == "BGR":
        pixels = pixels[:, :, ::-1]
    mean, std = np.asarray(row.mean, np.float32), np.asarray(row.std, np.float32)
    pixels = (pixels / np.float32(row.scale) - mean) / std
    return np.ascontiguousarray(pixels if row.layout == "NHWC" else pixels.transpose(2, 0, 1))


def _pad(picture: Image.Image, row: Input) -> Image.Image:
    """A square around the picture, which is then resized. A huge one is made smaller first, so that the square fits into memory."""
    if (shrink := max(picture.size) // (_HUGE * row.size)) > 1:
        picture = picture.reduce(shrink)
    side = max(picture.size)
    return _resized(_centred(picture, side, row.ground), (row.size, row.size), row)


def _stretch(picture: Image.Image, row: Input) -> Image.Image:
    return _resized(picture, (row.size, row.size), row)


def _letterbox(picture: Image.Image, row: Input) -> Image.Image:
    """The picture resized, and a square around it."""
    return _centred(_inside(picture, row), row.size, row.ground)


def _edge(picture: Image.Image, row: Input) -> Image.Image:
    """As a letterbox, its ground being the outermost pixels drawn on."""
    from PIL import Image

    inside = np.asarray(_inside(picture, row))
    height, width = inside.shape[:2]
    left, top = (row.size - width) // 2, (row.size - height) // 2
    around = ((top, row.size - height - top), (left, row.size - width - left), (0, 0))
    return Image.fromarray(np.pad(inside, around, mode="edge"))


_FITS = {"pad": _pad, "stretch": _stretch, "letterbox": _letterbox, "edge": _edge}


def _inside(picture: Image.Image, row: Input) -> Image.Image:
    """The picture resized so that its longer side fills the square."""
    share = row.size / max(picture.size)
    return _resized(picture, (max(round(picture.width * share), 1), max(round(picture.height * share), 1)), row)


def _resized(picture: Image.Image, size: tuple[int, int], row: Input) -> Image.Image:
    from PIL import Image

    return picture if picture.size == size else picture.resize(size, Image.Resampling[row.filter])


def _centred(picture: Image.Image, side: int, ground: tuple[int, int, int]) -> Image.Image:
    """The picture in the middle of a square; an odd pixel goes to the right and below."""
    from PIL import Image

    if picture.size == (side, side):
        return picture
    square = Image.new("RGB", (side, side), ground)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square
