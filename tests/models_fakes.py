"""Model files without weights for the tests of `engine.models`: true names and shapes, and zeros that take no room on the disk."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

from engine.headers import DTYPE_BYTES
from engine.models import blueprint, keymap
from engine.models.layouts import LAYOUTS
from engine.models.specs import ClipSpec, Shape, Spec, UnetSpec, VaeSpec

SD1_VAE = VaeSpec(3, 4, (128, 256, 512, 512), 2, 0.18215)
SD1: dict[str, Spec] = {
    "text_encoder": ClipSpec(768, 12, 12, 3072, "quick_gelu"),
    "unet": UnetSpec(4, 4, (320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, 768, (8, 8, 8, 8), False),
    "vae": SD1_VAE,
}
SDXL: dict[str, Spec] = {
    "text_encoder": ClipSpec(768, 12, 12, 3072, "quick_gelu"),
    "text_encoder_2": ClipSpec(1280, 32, 20, 5120, "gelu", 1280),
    "unet": UnetSpec(4, 4, (320, 640, 1280), 2, (0, 2, 10), 10, 2048, (5, 10, 20), True, 2816, 256),
    "vae": VaeSpec(3, 4, (128, 256, 512, 512), 2, 0.13025),
}
FULL = {"sd1": SD1, "sdxl": SDXL}
TINY_SD1: dict[str, Spec] = {
    "text_encoder": ClipSpec(32, 1, 1, 64, "quick_gelu"),
    "unet": UnetSpec(4, 4, (32, 64), 1, (1, 0), 1, 32, (8, 8), False),
    "vae": VaeSpec(3, 4, (32, 32, 32, 32), 1, 0.18215),
}


def original(family: str, specs: Mapping[str, Spec]) -> dict[str, Shape]:
    """Names and shapes of a whole checkpoint in the original layout."""
    layout = next(layout for layout in LAYOUTS if layout.name == family)
    named: dict[str, Shape] = {}
    for row in layout.parts:
        shapes = blueprint.tensors(specs[row.name])
        if row.kind == "open_clip":
            shapes[keymap.LOGIT_SCALE] = ()
        plan = keymap.to_original(row.kind, shapes)
        named |= {f"{row.prefixes[0]}{name}": shape for name, shape in plan.shapes(shapes).items()}
    return named


def write(path: Path, shapes: Mapping[str, Shape], dtype: str = "F16", metadata: Mapping[str, str] | None = None) -> Path:
    """A safetensors file of zeros; sparse, so that full-size models cost nothing."""
    table: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * DTYPE_BYTES[dtype]
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(table).encode()
    with open(path, "wb") as handle:
        handle.write(struct.pack("<Q", len(header)) + header)
        handle.truncate(8 + len(header) + end)
    return path
