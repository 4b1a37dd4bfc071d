"""One picture to the pixels of its bucket: resized, cut, as numbers in [-1, 1]."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.data.buckets import Placement, Size
from engine.data.decode import Unreadable, decode, read
from engine.errors import UserError

Pixels = NDArray[numpy.uint8]  # [H,W,3]

_FILTERS = {  # `area`, the one name more, is our own
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
}


class Changed(UserError):
    """A picture that no longer holds what was looked at; what is known of it belongs to its earlier content."""

    def __init__(self, image: Path) -> None:
        hint = "start again, when no other program writes to it any more: it is then taken as it is"
        super().__init__("this picture changed after it was looked at", hint, where=str(image))
        self.image = image


def load(path: Path, digest: str, placement: Placement, background: str = "#ffffff", interpolation: str = "") -> Pixels:
    """The picture as it is trained on: uint8 [H,W,3] of the bucket's size. Raises UserError for an unreadable file.

    `digest` is the SHA-256 of the file when it was looked at; raises Changed where it holds something else now. The file is read once:
    what is decoded is what was compared. `interpolation` is one of sd-scripts' names; empty means area where both sides shrink and
    Lanczos otherwise, as there.
    """
    try:
        raw = read(path)
        if hashlib.sha256(raw).hexdigest() != digest:
            raise Changed(path)
        image = decode(raw, background).image
    except Unreadable as error:
        raise UserError(f"this picture cannot be read: {error.message}", error.hint, where=str(path)) from error
    left, top = placement.crop
    width, height = placement.bucket
    return numpy.ascontiguousarray(resize(image, placement.resized, interpolation)[top : top + height, left : left + width])


def resize(image: Image.Image, size: Size, interpolation: str = "") -> Pixels:
    """An RGB picture scaled to `size` (width, height), as uint8 [H,W,3]. `interpolation` is one of `pixels.INTERPOLATIONS`, or empty."""
    shrinks = size[0] <= image.width and size[1] <= image.height
    if size == image.size:
        return numpy.asarray(image)
    name = interpolation or ("area" if shrinks else "lanczos")
    if name == "area" and shrinks:
        return _area(numpy.asarray(image), size)
    if name == "area":
        name = "bilinear"  # averaging areas means nothing when a side grows; OpenCV does the same
    return numpy.asarray(image.resize(size, _FILTERS[name]))


def to_tensor(pixels: Pixels, flip: bool = False) -> torch.Tensor:
    """Pixels as float32 [3,H,W] in [-1,1], mirrored left to right if asked for."""
    tensor = torch.from_numpy(numpy.array(pixels)).permute(2, 0, 1).float().div_(127.5).sub_(1.0)
    return (tensor.flip(-1) if flip else tensor).contiguous()


def _area(pixels: Pixels, size: Size) -> Pixels:
    """Every new pixel is the mean of the area it covers, fractions of pixels counted as such (what OpenCV calls INTER_AREA).

    Pillow's BOX counts a pixel wholly or not at all, which makes steps in edges at small ratios.
    """
    height, width, channels = pixels.shape
    rows = _average(pixels.reshape(height, width * channels), size[1]).reshape(size[1], width, channels)
    columns = numpy.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(width, size[1] * channels)
    both = _average(columns, size[0]).reshape(size[0], size[1], channels).transpose(1, 0, 2)
    return numpy.clip(numpy.rint(both), 0, 255).astype(numpy.uint8)


def _average(rows: NDArray[Any], length: int) -> NDArray[numpy.float32]:
    """The rows of a matrix averaged into `length` equal parts, no more than there are rows.

    Row by row on purpose: numpy's reduceat over the whole matrix takes eight times as long.
    """
    edges = numpy.arange(length + 1) * len(rows) / length
    out = numpy.empty((length, rows.shape[1]), numpy.float32)
    for place, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        first, last = int(start), min(math.ceil(end), len(rows))
        weights = numpy.ones(last - first, numpy.float32)
        weights[0] -= start - first
        weights[-1] -= last - end
        numpy.matmul(weights * (length / len(rows)), rows[first:last].astype(numpy.float32), out=out[place])
    return out
