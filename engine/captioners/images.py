"""A picture as the numbers that a captioner takes. The same ones with torchvision and without."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray
from PIL import Image

from engine.captioners import Captioner


def numbers(picture: Image.Image, row: Captioner) -> NDArray[numpy.float32]:
    """An RGB picture as [3, side, side]."""
    square = picture.resize((row.side, row.side), Image.Resampling.BICUBIC)
    values = numpy.asarray(square, dtype=numpy.float32) * numpy.float32(1 / 255)
    values = (values - numpy.asarray(row.mean, numpy.float32)) / numpy.asarray(row.deviation, numpy.float32)
    return numpy.ascontiguousarray(values.transpose(2, 0, 1))
