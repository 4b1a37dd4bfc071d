"""What settings and pictures must agree on: bucket sizes, resizing, colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

STEP = 32  # pixels; no network takes sides of a smaller step
INTERPOLATIONS = ("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box")  # sd-scripts' names


@dataclass(frozen=True)
class Fault:
    """A number that makes buckets impossible: the setting it belongs to, what is wrong with it, and what to do."""

    key: str
    message: str
    remedy: str


def bucket_faults(
    *, resolution: tuple[int, int] | None, enable: bool, minimum: int | None, maximum: int | None, step: int, no_upscale: bool
) -> Iterator[Fault]:
    """What the sizes of a data set are to one another, all in pixels; None is a number that is not known yet.

    A bucket's sides are multiples of `step`: its limits are rounded to such, the shorter down and the longer up, as in sd-scripts. Without
    buckets, and with `no_upscale`, the limits do not matter.

    >>> [fault.key for fault in bucket_faults(resolution=(512, 500), enable=True, minimum=540, maximum=500, step=64, no_upscale=False)]
    ['resolution', 'min_bucket_reso']
    """
    if step < STEP or step % STEP:
        yield Fault("bucket_reso_steps", f"{step} is no multiple of {STEP}", f"the nearest is {_nearest(step, STEP)}")
        return
    if resolution:
        width, height = resolution
        if width % step or height % step:
            near = f"{_nearest(width, step)},{_nearest(height, step)}"
            yield Fault("resolution", f"{width},{height} is no multiple of {step} (bucket_reso_steps)", f"the nearest is {near}")
    if not enable or no_upscale:
        return
    low = None if minimum is None else minimum // step * step
    high = None if maximum is None else -(-maximum // step) * step
    if low is not None and low < step:
        yield Fault("min_bucket_reso", f"{minimum} is below bucket_reso_steps, {step}", "raise it, or leave it out")
    elif low is not None and high is not None and high < low:
        yield Fault("max_bucket_reso", f"{maximum} is below min_bucket_reso, {minimum}", "raise it, or leave one of them out")
    elif resolution and high is not None and high < max(resolution):
        yield Fault("max_bucket_reso", f"{maximum} is below the resolution", f"set it to {max(resolution)} or more")
    elif resolution and low is not None and low > min(resolution):
        yield Fault("min_bucket_reso", f"{minimum} is above the resolution", f"set it to {min(resolution)} or less")


def rgb(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of `#rrggbb` in capitals or not. Raises ValueError for anything else.

    >>> rgb("#00ff7F")
    (0, 255, 127)
    """
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError(f"`{text}` is not a colour")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _nearest(side: int, step: int) -> int:
    """The nearest multiple of `step`, at least one."""
    return max(step, round(side / step) * step)
