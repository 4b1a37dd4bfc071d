"""One cache entry, a file of tensors with their checksum. Also a bounded store of entries in memory."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch

from engine import headers, tensorfile
from engine.errors import UserError

Tensors = dict[str, torch.Tensor]


class Damaged(Exception):
    """An entry on disk that is not what was written."""


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """CRC-32 over names, shapes and bytes, as eight hex digits. Against disk errors and half copies, not against forgery."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        value = zlib.crc32(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def write(path: Path, groups: Mapping[str, Tensors], metadata: Mapping[str, str]) -> None:
    """Write groups of tensors into one file, each with its checksum; atomic, so an interrupted job leaves whole entries only."""
    flat = {f"{group}.{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}
    sums = {f"crc32.{group}": checksum(tensors) for group, tensors in groups.items()}
    tensorfile.write(path, flat, {**metadata, **sums})


def groups_in(path: Path) -> list[str]:
    """The groups that a file claims to hold, from its header alone. Raises Damaged."""
    try:
        metadata = headers.read(path).metadata
    except (UserError, OSError) as error:
        raise Damaged(str(error)) from error
    return [key.removeprefix("crc32.") for key in metadata if key.startswith("crc32.")]


def read(path: Path, group: str | None = None) -> dict[str, Tensors]:
    """The groups of a file (or the one asked for), checksums verified. Raises Damaged."""
    try:
        metadata = headers.read(path).metadata
        flat = tensorfile.read(path, lambda name: group is None or name.rpartition(".")[0] == group)
    except (UserError, OSError) as error:
        raise Damaged(str(error)) from error
    groups: dict[str, Tensors] = {}
    for name, tensor in flat.items():
        owner, _, part = name.rpartition(".")
        groups.setdefault(owner, {})[part] = tensor
    for owner, tensors in groups.items():
        if metadata.get(f"crc32.{owner}") != checksum(tensors):
            raise Damaged(f"{path}: the checksum of `{owner}` does not match")
    if group is not None and group not in groups:
        raise Damaged(f"{path}: `{group}` is missing")
    return groups


class Memory:
    """Entries kept in memory, the least recently used ones dropped beyond `limit` bytes; None keeps all. Safe between threads."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[str, Tensors] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Tensors | None:
        """The entry, or None where it is not in memory."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: str, tensors: Tensors) -> None:
        """Keep an entry, and make room for it."""
        with self._lock:
            self.size += _bytes(tensors) - _bytes(self._entries.pop(key, {}))
            self._entries[key] = tensors
            while self.limit is not None and self.size > self.limit:
                self.size -= _bytes(self._entries.popitem(last=False)[1])


def _bytes(tensors: Tensors) -> int:
    """Size of an entry's tensors in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
