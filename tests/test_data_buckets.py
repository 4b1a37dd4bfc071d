"""Buckets: golden values worked out from sd-scripts' rules, SDXL's size numbers, and what is refused."""

from __future__ import annotations

import doctest

import pytest

from engine.data import buckets
from engine.data.buckets import BucketOptions, Placement, Size, check_options, place, sdxl_size, table
from engine.errors import UserError


def with_transposes(*sizes: Size) -> tuple[Size, ...]:
    return tuple(sorted({*sizes, *((height, width) for width, height in sizes)}))


SD1 = with_transposes((256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512))
SDXL = with_transposes(
    *((512, height) for height in (1856, 1920, 1984, 2048)), *((576, height) for height in (1664, 1728, 1792)),
    (640, 1536), (640, 1600), (704, 1408), (704, 1472), (768, 1280), (768, 1344), (832, 1216), (896, 1152), (960, 1088), (1024, 1024),
)  # fmt: skip


def test_doctests() -> None:
    assert doctest.testmod(buckets).failed == 0


def test_golden_tables() -> None:
    assert table((512, 512), 256, 1024, 64) == SD1 and len(SD1) == 17
    assert table((1024, 1024), 512, 2048, 64) == SDXL and len(SDXL) == 33
    narrow = with_transposes(*((width, 2048) for width in (256, 320, 384, 448)))
    assert table((1024, 1024), 256, 2048, 64) == tuple(sorted({*SDXL, *narrow})) and len(table((1024, 1024), 256, 2048, 64)) == 41
    middle = with_transposes(*((width, 1024) for width in range(256, 513, 64)), (576, 960), (576, 1024), (640, 896), (704, 832), (768, 768))
    assert table((768, 768), 256, 1024, 64) == middle and len(middle) == 19
    assert len(table((1024, 1024), 256, 2048, 32)) == 81
    clipped = table((1024, 1024), 256, 1024, 64)
    assert len(clipped) == 25 and all(1024 in size for size in clipped) and (704, 1024) in clipped


def test_bounds_are_rounded_outwards() -> None:
    assert table((512, 512), 300, 1000, 64) == table((512, 512), 256, 1024, 64)


@pytest.mark.parametrize(
    ("size", "sd1", "sdxl"),
    [
        ((1920, 1080), ((683, 384), (640, 384)), ((1365, 768), (1344, 768))),
        ((4000, 3000), ((597, 448), (576, 448)), ((1195, 896), (1152, 896))),
        ((800, 1200), ((427, 640), (384, 640)), ((832, 1248), (832, 1216))),
        ((3000, 1000), ((832, 277), (832, 256)), ((1728, 576), (1728, 576))),
        ((300, 200), ((640, 427), (640, 384)), ((1248, 832), (1216, 832))),
        ((2560, 1080), ((768, 324), (768, 320)), ((1536, 648), (1536, 640))),
    ],
)
def test_golden_placements(size: Size, sd1: tuple[Size, Size], sdxl: tuple[Size, Size]) -> None:
    for (resized, bucket), options in (
        (sd1, BucketOptions((512, 512), maximum=1024)),
        (sdxl, BucketOptions((1024, 1024), maximum=2048)),
    ):
        placement = place(size, options)
        assert (placement.resized, placement.bucket) == (resized, bucket)
        assert placement.crop == ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2)


@pytest.mark.parametrize(
    ("size", "sd1", "sdxl"),
    [
        ((1920, 1080), ((683, 384), (640, 384)), ((1365, 768), (1344, 768))),
        ((4000, 3000), ((512, 384), (512, 384)), ((1109, 832), (1088, 832))),
        ((800, 1200), ((384, 576), (384, 576)), ((800, 1200), (768, 1152))),
        ((300, 200), ((300, 200), (256, 192)), ((300, 200), (256, 192))),
        ((2560, 1080), ((768, 324), (768, 320)), ((1536, 648), (1536, 640))),
    ],
)
def test_golden_placements_without_upscaling(size: Size, sd1: tuple[Size, Size], sdxl: tuple[Size, Size]) -> None:
    for (resized, bucket), side in ((sd1, 512), (sdxl, 1024)):
        placement = place(size, BucketOptions((side, side), no_upscale=True))
        assert (placement.resized, placement.bucket) == (resized, bucket)


def test_a_size_that_is_a_bucket_stays() -> None:
    assert place((320, 768), BucketOptions((512, 512))) == Placement((320, 768), (320, 768), (0, 0))


def test_without_buckets_everything_covers_the_resolution() -> None:
    options = BucketOptions((512, 768), enable=False, no_upscale=True)
    assert place((1000, 1000), options) == Placement((512, 768), (768, 768), (128, 0))
    assert place((256, 768), options) == Placement((512, 768), (512, 1536), (0, 384))


def test_crop_never_leaves_the_picture() -> None:
    for options in (
        BucketOptions((512, 512)),
        BucketOptions((1024, 1024), maximum=2048, step=32),
        BucketOptions((512, 512), no_upscale=True),
    ):
        for width in range(70, 2000, 97):
            for height in range(max(70, width // 15), min(2000, width * 15), 83):
                spot = place((width, height), options)
                assert spot.bucket[0] <= spot.resized[0] and spot.bucket[1] <= spot.resized[1]
                assert spot.bucket[0] % options.step == spot.bucket[1] % options.step == 0


@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000), (1700, 100)])
def test_long_thin_pictures_are_refused(size: Size) -> None:
    with pytest.raises(UserError, match="too long and thin"):
        place(size, BucketOptions((512, 512)))


def test_tiny_pictures_are_refused_without_upscaling_only() -> None:
    with pytest.raises(UserError, match="smaller than one bucket step"):
        place((60, 100), BucketOptions((512, 512), no_upscale=True))
    assert place((60, 100), BucketOptions((512, 512))).bucket == (384, 640)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BucketOptions((500, 500), enable=False), "resolution: 500,500 is no multiple of 64 (bucket_reso_steps)\nhint: the nearest is 512"),
        (BucketOptions((500, 500)), "resolution: 500,500 is no multiple of 64"),
        (BucketOptions((128, 128)), "min_bucket_reso: 256 is above the resolution\nhint: set it to 128 or less"),
        (BucketOptions((1280, 1280)), "max_bucket_reso: 1024 is below the resolution\nhint: set it to 1280 or more"),
        (BucketOptions((512, 512), step=20), "bucket_reso_steps: 20 is no multiple of 32\nhint: the nearest is 32"),
        (BucketOptions((512, 512), minimum=32), "min_bucket_reso: 32 is below bucket_reso_steps, 64"),
        (BucketOptions((32, 32), no_upscale=True), "resolution: 32,32 is no multiple of 64"),
    ],
)
def test_impossible_numbers_are_refused(options: BucketOptions, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_options(options)
    assert message in str(caught.value)


@pytest.mark.parametrize("resolution", [(512, 512), (512, 768)])
@pytest.mark.parametrize(
    "limits", [{}, {"minimum": 520, "maximum": 750}, {"minimum": 9999, "no_upscale": True}, {"minimum": 9999, "enable": False}]
)
def test_possible_numbers_pass(resolution: Size, limits: dict[str, int]) -> None:
    check_options(BucketOptions(resolution, **limits))


def test_sdxl_size_follows_sd_scripts_by_default() -> None:
    # 800x1200 in 832x1216: the picture is narrower than the bucket, so fitted inside it stands 810.67 wide, 10 from the left
    placement = place((800, 1200), BucketOptions((1024, 1024), maximum=2048))
    assert sdxl_size(placement, (800, 1200)) == (1200, 800, 0, 10, 1216, 832)
    assert sdxl_size(placement, (800, 1200), flip=True) == (1200, 800, 0, 11, 1216, 832)
