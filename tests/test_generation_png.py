"""PNG parameters: written here, read by us and by a parser made from the web UI's documented rules alone."""

from __future__ import annotations

import doctest
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.errors import UserError
from engine.generation import png
from engine.generation.png import Parsed, Provenance
from engine.generation.prompt import Shot

SHOT = Shot("a (red:1.2) cat", "dog, blurry", 512, 768, 42, 28, 7.0, "euler_a", False, 1.0)
ORIGIN = Provenance("v1-5, pruned", "6ce0161689", 2, (("my_lora", "abcdef012345"), ("b", "0123456789ab")), 500, 3)


def reference_parse(text: str) -> tuple[str, str, dict[str, str]]:
    """The web UI's rules, written without looking at ours."""
    rows = text.strip().split("\n")
    found = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', rows[-1])
    settings = {}
    if len(found) >= 3:
        rows = rows[:-1]
        for key, value in found:
            value = json.loads(value) if value[:1] == '"' else value.strip()
            size = re.fullmatch(r"(\d+)x(\d+)", value)
            settings.update({f"{key}-1": size[1], f"{key}-2": size[2]} if size else {key: value})
    prompt, negative, seen = [], [], False
    for row in rows:
        if row.startswith("Negative prompt:"):
            seen, row = True, row[16:].strip()
        (negative if seen else prompt).append(row)
    return "\n".join(prompt), "\n".join(negative), settings


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A PNG's chunks: (type, content)."""
    at = 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def test_doctests() -> None:
    assert doctest.testmod(png).failed == 0


def test_the_web_ui_reads_it() -> None:
    prompt, negative, settings = reference_parse(png.parameters(SHOT, ORIGIN))
    assert (prompt, negative) == (SHOT.text, SHOT.negative)
    assert settings["Steps"] == "28" and settings["Sampler"] == "Euler a" and settings["CFG scale"] == "7" and settings["Seed"] == "42"
    assert (settings["Size-1"], settings["Size-2"], settings["Clip skip"]) == ("512", "768", "2")
    assert (settings["Model"], settings["Model hash"]) == ("v1-5, pruned", "6ce0161689")
    assert settings["Lora hashes"] == "my_lora: abcdef012345, b: 0123456789ab"
    assert (settings["Training step"], settings["Training epoch"], settings["Adapter strength"]) == ("500", "3", "1")


def test_what_is_unknown_is_left_out() -> None:
    text = png.parameters(Shot("a", "", 64, 64, 1, 5, 1.0, "ddim", True, 0.0), Provenance())
    assert "None" not in text and "Negative prompt" not in text and "Schedule type: Karras" in text
    assert reference_parse(text)[1] == ""


@pytest.mark.parametrize(("prompt", "chunk"), [("a café", b"tEXt"), ("初音ミク, 猫", b"iTXt")])
def test_file_round_trip(tmp_path: Path, prompt: str, chunk: str) -> None:
    pixels = torch.arange(4 * 5 * 3, dtype=torch.uint8).view(4, 5, 3)
    path = tmp_path / "样 图" / "a.png"
    text = png.parameters(Shot(prompt, "低", 5, 4, 1, 2, 3.5, "ddim", False, 1.0) if chunk == b"iTXt" else SHOT, ORIGIN)
    png.save(path, pixels, text)
    assert png.read(path) == text
    assert png.parse(text) == Parsed(*reference_parse(text)[:2], png.parse(text).settings)
    kinds = {kind: content for kind, content in chunks(path.read_bytes())}
    assert kinds[chunk].startswith(b"parameters\0")
    width, height = struct.unpack(">II", kinds[b"IHDR"][:8])
    raw = zlib.decompress(kinds[b"IDAT"])
    assert (width, height) == (5, 4) and len(raw) == 4 * (1 + 5 * 3)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_foreign_text() -> None:
    parsed = png.parse("two\nlines, steps: 3")
    assert (parsed.prompt, parsed.negative, parsed.settings) == ("two\nlines, steps: 3", "", {})
    parsed = png.parse('a\nNegative prompt: b\nc\nSteps: 1, Sampler: DDIM, Seed: 2, Note: "a \\"q\\", b"')
    assert (parsed.negative, parsed.settings["Note"]) == ("b\nc", 'a "q", b')


def test_a_picture_without_parameters(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    assert png.read(tmp_path / "a.png") is None


def test_only_a_png_is_read(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (2, 2)).save(tmp_path / "a.png", "GIF", comment="parameters")
    with pytest.raises(OSError):
        png.read(tmp_path / "a.png")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError):
        png.save(tmp_path / "a.png", torch.zeros(2, 2, 3, dtype=torch.uint8), "")
