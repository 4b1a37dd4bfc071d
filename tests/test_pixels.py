"""What settings and pictures agree on: both rooms say of the same numbers the same."""

from __future__ import annotations

import doctest

import pytest

from engine import pixels, registries
from engine.config import flags
from engine.config.load import load
from engine.config.problems import ConfigError
from engine.data import images
from engine.data.buckets import BucketOptions, check_options
from engine.errors import UserError


def test_doctests() -> None:
    assert doctest.testmod(pixels).failed == 0


@pytest.mark.parametrize("enable", [True, False])
@pytest.mark.parametrize("no_upscale", [False, True])
@pytest.mark.parametrize(
    ("resolution", "low", "high", "step"),
    [
        ((512, 512), 256, 1024, 64), ((512, 768), 520, 750, 64), ((500, 512), 256, 1024, 64), ((512, 512), 640, 1024, 64),
        ((512, 512), 256, 384, 64), ((512, 512), 640, 512, 64), ((512, 512), 256, 1024, 48), ((512, 512), 64, 1024, 128),
    ],
)  # fmt: skip
def test_settings_and_data_sets_refuse_the_same_sizes(
    resolution: tuple[int, int], low: int, high: int, step: int, no_upscale: bool, enable: bool
) -> None:
    words = ["--resolution", f"{resolution[0]},{resolution[1]}", "--min_bucket_reso", f"{low}", "--max_bucket_reso", f"{high}"]
    words += ["--bucket_reso_steps", f"{step}", f"--enable_bucket={enable}", f"--bucket_no_upscale={no_upscale}"]
    told = ""
    try:
        load(flags.split(words).sources, registries.rows())
    except ConfigError as error:
        told = str(error)
    try:
        check_options(BucketOptions(resolution, enable, low, high, step, no_upscale))
    except UserError as error:
        assert f"--{error.where}: {error.message}; {error.hint}" in told
    else:
        assert not told


def test_every_interpolation_has_its_filter() -> None:
    assert {*images._FILTERS, "area"} == set(pixels.INTERPOLATIONS)


@pytest.mark.parametrize("text", ["white", "#fff", "ffffff", "#12345g", "#1234567", "# 23456", ""])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a colour"):
        pixels.rgb(text)
