"""Reads and writes one network's tensors, lazily and part by part. Where it is asked, they have the names of the other layout.

Only the wanted network's tensors are read, each straight to its dtype and device. No memory map stays open on a file.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine import pickled
from engine.errors import UserError
from engine.models import keymap
from engine.models.keymap import Kind, Move
from engine.models.layouts import PartSource
from engine.models.tensor_sources import Entry, Source, open_file, open_folder

_TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


def read(part: PartSource, dtype: torch.dtype | None, device: torch.device | str) -> dict[str, Tensor]:
    """One network's tensors in diffusers' names. dtype None keeps each tensor's own. Raises UserError for damaged files."""
    source = open_folder(part.path) if part.path.is_dir() else open_file(part.path)
    shapes = source.part(part.prefix)
    renaming = keymap.to_diffusers(part.kind, shapes) if part.layout == "original" else keymap.in_folder(part.kind, shapes)
    tensors: dict[str, Tensor] = {}
    with reader(source) as get:
        for move in renaming.moves:
            taken = [get(f"{part.prefix}{name}").to(device=device, dtype=dtype, copy=True) for name in move.sources]
            tensors.update(zip(move.targets, moved(move, taken), strict=True))
    if "logit_scale" in source.metadata:  # where `export` keeps it in a diffusers folder
        own = _TORCH_DTYPES[source.metadata["logit_scale_dtype"]]
        tensors[keymap.LOGIT_SCALE] = torch.tensor(float(source.metadata["logit_scale"]), dtype=dtype or own)
    return tensors


def moved(move: Move, tensors: list[Tensor]) -> list[Tensor]:
    """The targets' tensors, each contiguous with memory of its own."""
    first = tensors[0]
    if move.op == "flatten":
        return [first.flatten(1)]
    if move.op == "to_conv":
        return [first[..., None, None]]
    if move.op == "transpose":
        return [first.T.contiguous()]
    if move.op == "split3":
        return [piece.clone() for piece in first.chunk(3)]
    if move.op == "stack3":
        return [torch.cat(tensors)]
    return tensors


def original(kind: Kind, prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One network's tensors under the names of the original layout. Raises ValueError for a name without a place there."""
    renaming = keymap.to_original(kind, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if renaming.leftovers:
        raise ValueError(f"no place in the original layout for {', '.join(renaming.leftovers[:5])}")
    renamed: dict[str, Tensor] = {}
    for move in renaming.moves:
        outcome = moved(move, [tensors[name] for name in move.sources])
        renamed.update((f"{prefix}{name}", tensor) for name, tensor in zip(move.targets, outcome, strict=True))
    return renamed


@contextlib.contextmanager
def reader(source: Source) -> Iterator[Callable[[str], Tensor]]:
    """A function from name to tensor on the CPU, its files open for the duration of the block."""
    with contextlib.ExitStack() as stack:
        handles: dict[Path, Callable[[str, Entry], Tensor]] = {}

        def get(name: str) -> Tensor:
            entry = source.entries[name]
            if entry.file not in handles:
                handles[entry.file] = _open(entry, stack)
            return handles[entry.file](name, entry)

        yield get


def _open(entry: Entry, stack: contextlib.ExitStack) -> Callable[[str, Entry], Tensor]:
    if entry.lazy is not None:
        archive = stack.enter_context(zipfile.ZipFile(entry.file))
        root = pickled.root_of(archive, entry.file)

        def from_zip(name: str, wanted: Entry) -> Tensor:
            if wanted.lazy is None:
                raise TypeError(f"{name} is not in a zip archive")
            return _from_bytes(pickled.raw(archive, root, wanted.lazy), wanted.lazy)

        return from_zip
    try:
        handle = stack.enter_context(safe_open(str(entry.file), framework="pt", device="cpu"))
    except (SafetensorError, OSError) as error:
        raise UserError(f"the file is damaged ({error})", "copy or download it again", where=str(entry.file)) from error

    def from_map(name: str, wanted: Entry) -> Tensor:
        tensor: Tensor = handle.get_tensor(name)
        return tensor

    return from_map


def _from_bytes(data: bytearray, lazy: pickled.Lazy) -> Tensor:
    """A tensor over the bytes between its first and last element."""
    dtype = _TORCH_DTYPES[lazy.dtype]
    if not data:
        return torch.empty(lazy.shape, dtype=dtype)
    flat = torch.frombuffer(data, dtype=dtype)
    return flat.view(lazy.shape) if lazy.contiguous else flat.as_strided(lazy.shape, lazy.strides).contiguous()
