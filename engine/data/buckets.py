"""Which size a picture is trained at: bucket table, resize, crop. SDXL's size numbers are made here too. Pure.

Sizes are (width, height) in pixels throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from engine.errors import UserError
from engine.pixels import bucket_faults

LONGEST = 16.0  # a picture more than this many times as long as wide is a mistake: its crop would show almost nothing of it

Size = tuple[int, int]


@dataclass(frozen=True)
class BucketOptions:
    """The sizes a data set is trained at. `maximum` and `minimum` bound a bucket's sides; all in pixels."""

    resolution: Size
    enable: bool = True
    minimum: int = 256
    maximum: int = 1024
    step: int = 64
    no_upscale: bool = False


@dataclass(frozen=True)
class Placement:
    """What becomes of a picture: resized to `resized`, then cut to `bucket` from `crop` (left, top), all in pixels."""

    bucket: Size
    resized: Size
    crop: Size


@lru_cache(maxsize=64)
def table(resolution: Size, minimum: int, maximum: int, step: int) -> tuple[Size, ...]:
    """All bucket sizes, ascending: at most the resolution's area, sides multiples of `step`.

    >>> len(table((512, 512), 256, 1024, 64)), len(table((1024, 1024), 512, 2048, 64))
    (17, 33)
    """
    area = resolution[0] * resolution[1]
    low, high = minimum // step * step, -(-maximum // step) * step
    side = math.isqrt(area) // step * step
    sizes = {(side, side)}
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def check_options(options: BucketOptions) -> None:
    """Raise UserError where no bucket can be made from these numbers."""
    faults = bucket_faults(
        resolution=options.resolution,
        enable=options.enable,
        minimum=options.minimum,
        maximum=options.maximum,
        step=options.step,
        no_upscale=options.no_upscale,
    )
    for fault in faults:
        raise UserError(fault.message, fault.remedy, where=fault.key)


def place(size: Size, options: BucketOptions) -> Placement:
    """Where a picture of this size goes; the cut is centred.

    Raises UserError for a picture too long and thin, or (with `no_upscale`) smaller than one bucket step.

    >>> place((1920, 1080), BucketOptions((512, 512)))
    Placement(bucket=(640, 384), resized=(683, 384), crop=(21, 0))
    """
    width, height = size
    if max(width, height) > LONGEST * min(width, height):
        raise UserError(
            f"{width} x {height} pixels is too long and thin to train on (more than {LONGEST:.0f} to 1)",
            "cut the part you want out of it, or take it out of the folder",
        )
    if options.enable and options.no_upscale:
        bucket, resized = _without_upscaling(size, options)
        if min(bucket) < options.step:
            raise UserError(
                f"{width} x {height} pixels is smaller than one bucket step ({options.step}) and bucket_no_upscale is on",
                "use a larger picture, or turn bucket_no_upscale off",
            )
    else:
        bucket = _closest(size, options)
        resized = _cover(size, bucket)
    return Placement(bucket, resized, ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2))


def sdxl_size(placement: Placement, original: Size, *, flip: bool = False) -> tuple[int, int, int, int, int, int]:
    """SDXL's six numbers for one sample: original height, width, crop top, left, target height, width.

    The crop is sd-scripts', not the offset of the real cut: the original fitted inside the bucket, half of what is left over, on the side
    that was not cut.

    >>> sdxl_size(Placement((1344, 768), (1365, 768), (10, 0)), (1920, 1080))
    (1080, 1920, 6, 0, 768, 1344)
    """
    width, height = placement.bucket
    ratio = original[0] / original[1]
    wider = width / height > ratio
    fitted = (height * ratio, float(height)) if wider else (float(width), width / ratio)
    start = (width - fitted[0]) // 2
    across = width - (start + fitted[0]) if flip else start
    return original[1], original[0], int((height - fitted[1]) // 2), int(across), height, width


def _closest(size: Size, options: BucketOptions) -> Size:
    """The bucket of the picture's own size, else the one with the nearest ratio of width to height; first of equals."""
    if not options.enable:
        return options.resolution
    sizes = table(options.resolution, options.minimum, options.maximum, options.step)
    if size in sizes:
        return size
    ratio = size[0] / size[1]
    return min(sizes, key=lambda bucket: abs(bucket[0] / bucket[1] - ratio))


def _cover(size: Size, bucket: Size) -> Size:
    """The picture's size after it is scaled to cover the bucket, rounded on both axes."""
    width, height = size
    scale = bucket[1] / height if width / height > bucket[0] / bucket[1] else bucket[0] / width
    return int(width * scale + 0.5), int(height * scale + 0.5)


def _without_upscaling(size: Size, options: BucketOptions) -> tuple[Size, Size]:
    """Bucket and resized size where pictures are only ever shrunk; the table and its bounds play no part."""
    width, height = size
    area, step = options.resolution[0] * options.resolution[1], options.step
    resized = size
    if width * height > area:
        ratio = width / height
        ideal_width = math.sqrt(area * ratio)
        ideal_height = area / ideal_width
        by_width, by_height = _rounded(ideal_width, step), _rounded(ideal_height, step)
        from_width = _rounded(by_width / ratio, step)
        from_height = _rounded(by_height * ratio, step)
        width_error = abs(by_width / from_width - ratio) if from_width else math.inf
        height_error = abs(from_height / by_height - ratio) if by_height else math.inf
        a, b = (by_width, int(by_width / ratio + 0.5)), (int(by_height * ratio + 0.5), by_height)
        resized = a if width_error < height_error else b
    return (resized[0] - resized[0] % step, resized[1] - resized[1] % step), resized


def _rounded(length: float, step: int) -> int:
    """A length in whole pixels, lowered to a multiple of `step`."""
    whole = int(length + 0.5)
    return whole - whole % step
