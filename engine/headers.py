"""What a safetensors file says of itself before any weight is read.

Standard library only, so that commands which touch no tensor stay quick.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.errors import UserError

_HEADER_LIMIT = 100_000_000  # the safetensors format's own limit, in bytes

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One entry of a safetensors header. `begin` and `end` are byte offsets into the data section."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before any weight is read."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int  # byte offset of the data section in the file


def read(path: Path) -> Header:
    """Read and check a safetensors header: names, dtypes, shapes, metadata, and that the file has all the bytes it promises.

    Raises UserError for a file that is not safetensors, or was downloaded only in part.
    """
    path = Path(path)
    again = "download or copy the file again"
    with files.reading(path), open(path, "rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= _HEADER_LIMIT:
            raise UserError("this is not a safetensors file", again, where=str(path))
        if 8 + length > size:
            raise UserError(f"the file is cut short: its header alone needs {8 + length:,} bytes, it has {size:,}", again, where=str(path))
        raw = handle.read(length)
    try:
        table = json.loads(raw)
        metadata = table.pop("__metadata__", {})
        tensors = {
            name: TensorInfo(entry["dtype"], tuple(entry["shape"]), entry["data_offsets"][0], entry["data_offsets"][1])
            for name, entry in table.items()
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError("the safetensors header is damaged", again, where=str(path)) from error
    for name, info in tensors.items():
        if info.dtype in DTYPE_BYTES and info.end - info.begin != math.prod(info.shape) * DTYPE_BYTES[info.dtype]:
            raise UserError(f"the safetensors header is damaged (`{name}` has the wrong size)", again, where=str(path))
    needed = 8 + length + max((info.end for info in tensors.values()), default=0)
    if size < needed:
        raise UserError(f"the file is incomplete: {size:,} of {needed:,} bytes are here", again, where=str(path))
    return Header(tensors, metadata, 8 + length)


def size(tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]) -> int:
    """Bytes of a file of these tensors, by name (dtype, shape), with this metadata; without making it."""
    table: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda entry: (-DTYPE_BYTES[entry[1][0]], entry[0])):
        begin, end = end, end + math.prod(shape) * DTYPE_BYTES[dtype]
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    header = len(json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    return 8 + -(-header // 8) * 8 + end


def sort_metadata(path: Path) -> None:
    """Rewrite a safetensors header in place with its metadata in sorted order, so that equal content gives equal bytes.

    The library writes `__metadata__` in random order; the tensor entries keep theirs. Only used on files not yet moved into place.
    """
    with open(path, "rb+") as handle:
        length = struct.unpack("<Q", handle.read(8))[0]
        table = json.loads(handle.read(length))
        if "__metadata__" not in table:
            return
        ordered = {"__metadata__": dict(sorted(table.pop("__metadata__").items())), **table}
        raw = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        if len(raw) > length:
            raise RuntimeError(f"sorted safetensors header of {path} grew from {length} to {len(raw)} bytes")
        handle.seek(8)
        handle.write(raw.ljust(length, b" "))
