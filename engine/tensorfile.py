"""Safetensors files of torch tensors, written whole or not at all. The same content gives the same bytes.

Level 0 beside `files`, apart from it because this imports torch: caches, checkpoints and adapter files all pass through here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from engine import files, headers
from engine.errors import UserError


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors (any device; made contiguous) atomically, metadata sorted. Raises UserError when the disk refuses."""
    packed = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with files.writing(Path(path)) as partial:
        try:
            partial.touch()
            rights = partial.stat().st_mode  # what files usually get here; the library lets only the owner read
            save_file(packed, str(partial), metadata=dict(metadata) if metadata else None)
            partial.chmod(rights)
        except SafetensorError as error:  # the library wraps the operating system's error in its own
            raise _disk_error(error) from error
        headers.sort_metadata(partial)
        headers.read(partial)


def _disk_error(error: SafetensorError) -> OSError:
    """The operating system's error inside a library error, so that `files.writing` can explain it."""
    import errno

    text = str(error)
    code = errno.ENOSPC if "No space left" in text or "os error 28" in text or "os error 112" in text else errno.EIO
    if "denied" in text or "Read-only" in text:
        code = errno.EACCES
    return OSError(code, text)


def serialise(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file that would hold these tensors, in memory."""
    return save({name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}, dict(metadata))


def read(path: Path, names: Callable[[str], bool] = lambda name: True, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read the tensors whose name `names` accepts. No memory map stays open. Raises UserError for a damaged file."""
    path = Path(path)
    headers.read(path)
    try:
        with safe_open(str(path), framework="pt", device=device) as handle:
            # clone: on the CPU the tensors would otherwise keep the map open, and Windows refuses to replace a mapped file
            return {name: handle.get_tensor(name).clone() for name in handle.keys() if names(name)}  # noqa: SIM118 not a dict
    except SafetensorError as error:
        raise UserError(f"the file is damaged ({error})", "copy or download it again", where=str(path)) from error


def content_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex SHA-256 over names, dtypes, shapes and values, whatever order or file they came in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}/{tensor.dtype}/{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
