"""Pictures made ready for every tagger, held against a computation of its own: reference facts, typed here a second time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from engine.taggers.models import TAGGERS
from engine.taggers.prepare import prepare

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Value = Callable[[float, int], float]  # a colour from 0 to 255 and its place among red, green, blue


def plain(x: float, place: int) -> float:
    return x


def half(x: float, place: int) -> float:
    return (x / 255 - 0.5) / 0.5


def cl(x: float, place: int) -> float:
    return x / 127.5 - 1


def unit(x: float, place: int) -> float:
    return x / 255


def by(numbers: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Value:
    return lambda x, place: (x / 255 - numbers[0][place]) / numbers[1][place]


# size, layout, channel order, value, fit, filter: as the models' pages and the programs around them have it
FACTS: dict[str, tuple[int, str, str, Value, str, Image.Resampling]] = {
    **dict.fromkeys(
        ["wd-swinv2-v3", "wd-vit-v3", "wd-convnext-v3", "wd-vit-large-v3", "wd-eva02-large-v3", "wd-v1-4-swinv2-v2", "wd-v1-4-moat-v2",
         "wd-v1-4-vit-v2", "wd-v1-4-convnext-v2", "wd-v1-4-convnextv2-v2"],
        (448, "NHWC", "BGR", plain, "white square", Image.Resampling.BICUBIC),
    ),
    "wd-eva02-2026-canary": (448, "NCHW", "RGB", half, "white square", Image.Resampling.BICUBIC),
    "pixai-0.9": (448, "NCHW", "RGB", half, "stretched", Image.Resampling.BILINEAR),
    "pixai-1.0": (1008, "NCHW", "RGB", half, "on black", Image.Resampling.BILINEAR),
    "cl-tagger-1.02": (448, "NCHW", "BGR", cl, "white square", Image.Resampling.BICUBIC),
    "cl-tagger-v2": (384, "NCHW", "RGB", half, "stretched", Image.Resampling.BICUBIC),
    "camie-v2": (512, "NCHW", "RGB", by(IMAGENET), "on (124,116,104)", Image.Resampling.LANCZOS),
    "joytag": (448, "NCHW", "RGB", by(CLIP), "white square", Image.Resampling.BICUBIC),
    "deepdanbooru": (512, "NHWC", "RGB", unit, "on its edge", Image.Resampling.BICUBIC),
    "deepdanbooru-skytnt": (512, "NHWC", "RGB", unit, "on its edge", Image.Resampling.BICUBIC),
}  # fmt: skip
GROUNDS = {"white square": (255, 255, 255), "on black": (0, 0, 0), "on (124,116,104)": (124, 116, 104)}


def fitted(picture: Image.Image, size: int, fit: str, resampling: Image.Resampling) -> np.ndarray:
    """[size, size, 3] of 0..255."""
    if fit == "stretched":
        return np.asarray(picture.resize((size, size), resampling))
    if fit == "white square":
        return np.asarray(Image.fromarray(surrounded(np.asarray(picture), max(picture.size), fit)).resize((size, size), resampling))
    width, height = (max(1, round(side * size / max(picture.size))) for side in picture.size)
    return surrounded(np.asarray(picture.resize((width, height), resampling)), size, fit)


def surrounded(pixels: np.ndarray, side: int, fit: str) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = math.floor((side - height) / 2), math.floor((side - width) / 2)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = GROUNDS.get(fit, (0, 0, 0))
    square[top : top + height, left : left + width] = pixels
    if fit == "on its edge":
        lines, columns = (np.clip(np.arange(side) - start, 0, end - 1) for start, end in ((top, height), (left, width)))
        square = pixels[lines][:, columns]  # each pixel outside is the nearest one inside
    return square


@pytest.mark.parametrize("row", {FACTS[row.name]: row for row in TAGGERS}.values(), ids=lambda row: row.name)
@pytest.mark.parametrize("size", [(61, 40), (40, 61), (1, 1), (640, 481)], ids=str)
def test_every_number_is_as_the_model_takes_it(row, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    side, layout, order, value, fit, resampling = FACTS[row.name]
    square = fitted(Image.fromarray(pixels), side, fit, resampling)
    channels = [np.array([value(x, place) for x in range(256)]) for place in range(3)]
    planes = [channels[place][square[:, :, place]] for place in ((2, 1, 0) if order == "BGR" else (0, 1, 2))]
    found = prepare(Image.fromarray(pixels), row.input)
    assert found.dtype == np.float32 and found.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(found, np.stack(planes, axis=2 if layout == "NHWC" else 0), rtol=0, atol=2e-5)


def test_every_row_has_its_facts_and_one_input_for_the_same() -> None:
    assert {row.name for row in TAGGERS} == set(FACTS)
    assert len({(FACTS[row.name], row.input) for row in TAGGERS}) == len(set(FACTS.values()))


def test_a_huge_picture_is_made_smaller_first() -> None:
    picture = Image.linear_gradient("L").resize((9000, 90)).convert("RGB")
    row = next(row for row in TAGGERS if row.name == "wd-swinv2-v3")
    direct = picture.resize((448, 4), Image.Resampling.BICUBIC)
    found = prepare(picture, row.input)[222:226, :, 0]
    assert np.abs(found[1:3] - np.asarray(direct, np.float32)[1:3, :, 0]).max() < 12  # the white around it reaches in at the rim


def test_a_picture_of_the_right_size_is_taken_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    row = next(row for row in TAGGERS if row.name == "wd-swinv2-v3")
    assert (prepare(Image.fromarray(pixels), row.input) == pixels[:, :, ::-1]).all()
