"""What decoding latents takes of the memory, and when it is done in tiles. Imports no torch."""

from __future__ import annotations

TILE = 512  # pixels; tiles overlap by a quarter and are blended
_NUMBERS_A_PIXEL = 1024  # live at the decoder's peak: three maps of 256 channels at full size (counted), and a third more for workspaces


def needs_tiles(pixels: int, itemsize: int, free: int) -> bool:
    """Whether a picture is decoded in tiles: in one piece it would pass the `free` bytes. `itemsize` is the decoder's bytes a number.

    >>> needs_tiles(1024 * 1024, 2, free=3 << 30), needs_tiles(1024 * 1024, 2, free=1 << 30)
    (False, True)
    """
    return decode_bytes(pixels, itemsize) > free


def decode_bytes(pixels: int, itemsize: int) -> int:
    """The room that decoding a picture in one piece is given, beside the decoder's weights.

    >>> decode_bytes(1024 * 1024, 2) >> 20
    2048
    """
    return pixels * _NUMBERS_A_PIXEL * itemsize
