"""PNG files that say how they were made: writing and reading. The text is the web UIs' `parameters`.

The format of AUTOMATIC1111's web UI: prompt, an optional "Negative prompt:" line, then one line of `Key: value` pairs.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin

from engine import __version__, files
from engine.generation.prompt import Shot

if TYPE_CHECKING:
    from torch import Tensor

PRODUCER = f"portable-lora-trainer {__version__}"
_KEYWORD = "parameters"
_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_NEEDS_QUOTES = re.compile(r'[,:\n"]')

# What the web UI calls the samplers, so that it can set its own form from a picture. The last two have no exact equal there.
DISPLAY_NAMES = {
    "ddim": "DDIM", "pndm": "PLMS", "lms": "LMS", "euler": "Euler", "euler_a": "Euler a", "heun": "Heun", "dpm_2": "DPM2",
    "dpm_2_a": "DPM2 a", "dpmsolver++": "DPM++ 2M", "dpmsolver": "DPM-Solver", "dpmsingle": "DPM++ 2S",
}  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """What a picture was made with, beside its prompt. None is left out of the file."""

    model: str | None = None  # the base model's file name without its ending
    model_hash: str | None = None  # the first 10 hex digits of the file's SHA-256
    clip_skip: int | None = None
    adapters: tuple[tuple[str, str], ...] = ()  # name and the first 12 hex digits of sshs_model_hash of each adapter file
    training_step: int | None = None
    training_epoch: int | None = None


def parameters(shot: Shot, origin: Provenance) -> str:
    """The text a web UI reads back.

    >>> shot = Shot("a cat", "dog, blurry", 512, 768, 42, 28, 7.0, "euler_a", False, 1.0)
    >>> origin = Provenance(model="v1-5", model_hash="6ce0161689", adapters=(("my_lora", "abcdef012345"),), training_step=500)
    >>> print(parameters(shot, origin))  # doctest: +ELLIPSIS
    a cat
    Negative prompt: dog, blurry
    Steps: 28, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 42, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, \
Lora hashes: "my_lora: abcdef012345", Training step: 500, Adapter strength: 1, Version: portable-lora-trainer ...
    """
    pairs: list[tuple[str, object]] = [
        ("Steps", shot.steps),
        ("Sampler", DISPLAY_NAMES.get(shot.sampler, shot.sampler)),
        ("Schedule type", "Karras" if shot.karras else "Automatic"),
        ("CFG scale", f"{shot.scale:g}"),
        ("Seed", shot.seed),
        ("Size", f"{shot.width}x{shot.height}"),
        ("Model hash", origin.model_hash),
        ("Model", origin.model),
        ("Clip skip", origin.clip_skip),
        ("Lora hashes", ", ".join(f"{name}: {digest}" for name, digest in origin.adapters) or None),
        ("Training step", origin.training_step),
        ("Training epoch", origin.training_epoch),
        ("Adapter strength", f"{shot.strength:g}"),
        ("Version", PRODUCER),
    ]
    settings = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in pairs if value is not None)
    negative = [f"{_NEGATIVE} {shot.negative}"] if shot.negative else []
    return "\n".join([shot.text, *negative, settings])


def _quoted(value: str) -> str:
    """A value as it stands, or as a JSON string where it holds what separates pairs."""
    return json.dumps(value, ensure_ascii=False) if _NEEDS_QUOTES.search(value) else value


@dataclass(frozen=True)
class Parsed:
    """What a `parameters` text says; `settings` in its order, values as written there, without quotes."""

    prompt: str
    negative: str
    settings: dict[str, str]


def parse(text: str) -> Parsed:
    """Read a `parameters` text of ours or of a web UI's. A last line with fewer than three pairs belongs to the prompt.

    >>> parse('a cat\\nNegative prompt: dog\\nSteps: 28, Sampler: Euler a, Model: "v1: five, pruned", Seed: 1').settings["Model"]
    'v1: five, pruned'
    """
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for line in lines:
        if line.strip().startswith(_NEGATIVE):
            target, line = negative, line.strip()[len(_NEGATIVE) :]
        target.append(line.strip())
    settings = {key: json.loads(value) if value.startswith('"') else value.strip() for key, value in pairs}
    return Parsed("\n".join(prompt), "\n".join(negative), settings)


def save(path: Path, pixels: Tensor, text: str) -> None:
    """Write pixels (uint8 [H, W, 3] on the CPU) as a PNG with its `parameters`, whole or not at all.

    Raises UserError where the file cannot be written.
    """
    files.write_bytes(path, encoded(pixels, text))


def encoded(pixels: Tensor, text: str) -> bytes:
    """The PNG's bytes, the same for the same pixels and text.

    The text goes into a tEXt chunk where Latin-1 can hold it, into an iTXt chunk (UTF-8) otherwise: the web UIs write and read both.
    """
    info = PngImagePlugin.PngInfo()
    if _is_latin(text):
        info.add_text(_KEYWORD, text)
    else:
        info.add_itxt(_KEYWORD, text)
    data = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(data, format="PNG", pnginfo=info)
    return data.getvalue()


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def read(path: Path) -> str | None:
    """The `parameters` text of a PNG; None where it has none. Raises OSError for a file that is no PNG."""
    with Image.open(path, formats=("PNG",)) as image:
        image.load()  # text chunks may stand behind the pixels
        text = image.info.get(_KEYWORD)
    return text if isinstance(text, str) else None
