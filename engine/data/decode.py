"""Picture files -> upright RGB pixels.

EXIF orientation, transparency, palettes and 16 bits a channel are seen to. Pillow only, no torch.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import pixels
from engine.data import kinds

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "AVIF", "JXL")  # Pillow's names; MPO, a JPEG with a second picture behind it, comes with JPEG

_ORIENTATION = 0x0112  # the EXIF tag
_AGAIN = "save or download it again, or take it out of the folder"


class Unreadable(Exception):
    """A file that holds no picture, or only part of one."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Decoded:
    """A picture as RGB. `size` is the full picture's, upright; `image` may be smaller where a draft was asked for."""

    image: Image.Image
    size: tuple[int, int]
    traits: tuple[str, ...]  # of "alpha", "animated", "16-bit", "turned", "CMYK"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings about large pictures and odd metadata. The filter is the whole process's: enter it before threads start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


@contextlib.contextmanager
def threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads to decode pictures in. What has not begun when the block ends, by an error or by Ctrl-C, is dropped."""
    with quiet():
        pool = ThreadPoolExecutor(count or min(8, os.cpu_count() or 1), thread_name_prefix="decode")
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def formats() -> tuple[str, ...]:
    """Those of FORMATS that can be read here. Pillow is never left to choose: for some others it starts a program, or asks Windows."""
    from PIL import Image

    registered = set(Image.registered_extensions().values())  # a decoder that was built without its library registers no extension
    return tuple(name for name in FORMATS if name in Image.OPEN and name in registered)


def read(path: Path) -> bytes:
    """A picture file's bytes. Raises Unreadable, with a message and a remedy."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Unreadable(f"it cannot be opened ({error.strerror})", "put it back, or start again without it") from error
    except OSError as error:
        hint = "check its rights, and close other programs that use it"
        raise Unreadable(f"it cannot be opened ({error.strerror or error})", hint) from error
    except MemoryError as error:
        raise Unreadable("it does not fit into memory", "shrink it, or take it out of the folder") from error


def decode(source: bytes, background: str = "#ffffff", draft: int = 0) -> Decoded:
    """Decode a file's bytes completely. Raises Unreadable, with a message and a remedy.

    Transparent pixels get `background` (`#rrggbb`); of an animation the first frame is used. `draft` is a side in pixels: JPEG files then
    may come out smaller, but not below it on their longer side, several times as fast.
    """
    from PIL import Image

    ground, size = pixels.rgb(background), (0, 0)
    try:
        with Image.open(io.BytesIO(source), formats=formats()) as image:
            size, animated = image.size, bool(getattr(image, "is_animated", False))
            if draft and image.format == "JPEG":
                shrink = draft / max(size)
                image.draft(None, (max(int(size[0] * shrink), 1), max(int(size[1] * shrink), 1)))
            image.load()
            orientation = _orientation(image)
            rgb, traits = _to_rgb(image, ground)
        if orientation in _TURNS:
            rgb = rgb.transpose(Image.Transpose(_TURNS[orientation]))
    except Image.DecompressionBombError as error:
        raise Unreadable("it has more than 178 million pixels", "shrink it; no model is trained on more than a few million") from error
    except MemoryError as error:
        what = f"{size[0]} x {size[1]} pixels do" if size[0] else "it does"
        raise Unreadable(f"{what} not fit into memory", "shrink it") from error
    except Exception as error:  # noqa: BLE001 - decoders of broken files raise anything, plug-ins classes of their own: it is one file's problem
        raise _unreadable(source, error) from error
    if orientation in _TURNS:
        size = size if orientation < 5 else (size[1], size[0])
        traits = [*traits, "turned"]
    return Decoded(rgb, size, tuple([*traits, "animated"] if animated else traits))


def _unreadable(source: bytes, error: Exception) -> Unreadable:
    """What is wrong with bytes that could not be decoded: they are of another kind, or damaged."""
    from PIL import UnidentifiedImageError

    kind, readable = kinds.of(source), formats()
    if kind and not kind.is_picture:
        return Unreadable(f"it is no picture but {kind.name}", kind.remedy)
    if kind and kind.format not in readable:
        return Unreadable(f"it is {kind.name}, which is not read here", kind.remedy)
    if not source:
        return Unreadable("the file is empty", _AGAIN)
    if isinstance(error, UnidentifiedImageError):  # its text names no cause
        if kind:
            return Unreadable(f"it is {kind.name} that is damaged or cut short", _AGAIN)
        return Unreadable(f"it is no picture of a kind that is read here ({', '.join(readable)}), or damaged from the start", _AGAIN)
    text = str(error) or type(error).__name__
    short = "truncated" in text or "not enough" in text.lower() or isinstance(error, EOFError)
    return Unreadable(f"it is cut short ({text})" if short else f"it is damaged ({text})", _AGAIN)


# EXIF orientation -> PIL.Image.Transpose, by number so that importing this module does not import Pillow
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 (upright) where the metadata does not tell or cannot be read, as every viewer does."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - as in `decode`; the pixels are there, and how they lie is worth no refusal
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, ground: tuple[int, int, int]) -> tuple[Image.Image, list[str]]:
    """The picture as RGB over this ground, and what was special about it."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB"), ["16-bit"]
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image.convert("RGB"), ["CMYK"] if image.mode == "CMYK" else []
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB"), []
    flat = Image.new("RGB", image.size, ground)
    flat.paste(rgba, mask=alpha)
    return flat, ["alpha"]


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits a pixel as 8 bits; Pillow's own conversion would cut off everything above 255."""
    import numpy
    from PIL import Image

    grey = numpy.asarray(image).astype(numpy.float32)
    scale = 255.0 / 65535.0
    if image.mode == "F":
        scale = 255.0 if grey.max(initial=0.0) <= 1.0 else 1.0
    return Image.fromarray(numpy.clip(grey * scale + 0.5, 0, 255).astype(numpy.uint8))
