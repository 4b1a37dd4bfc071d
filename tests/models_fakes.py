"""Model files without weights for the tests of `engine.models`: true names and shapes, and zeros that take no room on the disk."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

from engine.headers import DTYPE_BYTES
from engine.models import blueprint, keymap
from engine.models.layouts import layout_of
from engine.models.specs import ClipSpec, Shape, Spec, UnetSpec, VaeSpec
from engine.models.usual import USUAL

FULL = USUAL
SD1, SDXL = FULL["sd1"], FULL["sdxl"]
TINY_SD1: dict[str, Spec] = {
    "text_encoder": ClipSpec(32, 1, 1, 64, "quick_gelu"),
    "unet": UnetSpec(4, 4, (32, 64), 1, (1, 0), 1, 32, (8, 8), False),
    "vae": VaeSpec(3, 4, (32, 32, 32, 32), 1, 0.18215),
}


def original(family: str, specs: Mapping[str, Spec]) -> dict[str, Shape]:
    """Names and shapes of a whole checkpoint in the original layout."""
    named: dict[str, Shape] = {}
    for row in layout_of(family).parts:
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
