"""Where tensors come from: one file, or a network of a diffusers folder.

Names and shapes tell the networks apart before any weight is read.

Imports no torch. `weights` reads the tensors that are listed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import files, headers
from engine.errors import UserError
from engine import pickled
from engine.models.specs import Json

_FILE_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # diffusers networks; transformers networks; both, older
_SUFFIXES = (".safetensors", ".fp16.safetensors", ".bf16.safetensors", ".bin", ".fp16.bin")


@dataclass(frozen=True)
class Entry:
    """One tensor of a source. `lazy` is set for pickled files."""

    file: Path
    dtype: str  # as safetensors spells it: "F16"
    shape: tuple[int, ...]
    lazy: pickled.Lazy | None = None


@dataclass(frozen=True)
class Source:
    """The tensors of a file, or of one network's files."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: entry.shape for name, entry in self.entries.items()}

    def part(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the tensors under a prefix, the prefix removed."""
        return {name[len(prefix) :]: entry.shape for name, entry in self.entries.items() if name.startswith(prefix)}


def open_file(path: Path) -> Source:
    """List the tensors of one .safetensors or zip checkpoint, told apart by content, not by suffix.

    Raises UserError for anything else, naming what it looks like.
    """
    with files.reading(path), open(path, "rb") as handle:
        start = handle.read(512)
    if pickled.is_pickled(start):
        lazies = pickled.contents(path).tensors
        return Source(path, {name: Entry(path, lazy.dtype, lazy.shape, lazy) for name, lazy in lazies.items()}, {})
    _refuse_text(path, start)
    header = headers.read(path)
    return Source(path, {name: Entry(path, info.dtype, info.shape) for name, info in header.tensors.items()}, header.metadata)


def _refuse_text(path: Path, start: bytes) -> None:
    """A pointer file, a web page or something else where a model should be."""
    if not start:
        raise UserError("the file is empty", "download or copy it again", where=str(path))
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            "this is a Git LFS pointer (a few lines of text), not the model itself", "download the file in a browser", where=str(path)
        )
    if start.lstrip()[:1] == b"<":
        raise UserError(
            "this is a web page, not a model: the download saved the page about it", "use the page's download button", where=str(path)
        )
    if start.startswith(b"GGUF"):
        raise UserError("this is a GGUF file (quantised for inference); it cannot be trained from", "get the .safetensors", where=str(path))
    if start[8:9] != b"{":
        told = "this is neither a safetensors file nor a checkpoint of PyTorch"
        raise UserError(told, "give the model's own file; if this should be it, download or copy it again", where=str(path))


def open_folder(folder: Path) -> Source:
    """List the tensors of one network's folder in the diffusers layout, also where they are split over several files.

    Full precision is preferred to a half-precision variant, .safetensors to .bin. Raises UserError when there are none.
    """
    for stem in _FILE_STEMS:
        for suffix in _SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return open_file(path)
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            return _open_shards(folder, index)
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) if folder.is_dir() else "the folder is missing"
    raise UserError(
        f"no weights are here (found: {names or 'nothing'})",
        "download the rest of the folder, with `diffusion_pytorch_model.safetensors` or `model.safetensors` in each network's folder",
        where=str(folder),
    )


def _open_shards(folder: Path, index: Path) -> Source:
    """One network whose tensors an index file spreads over several files."""
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict):
        raise UserError("the index has no `weight_map`", "download the file again", where=str(index))
    entries: dict[str, Entry] = {}
    for name in sorted({str(value) for value in table.values()}):
        if not (folder / name).is_file():
            raise UserError(f"the index names `{name}`, which is not here", "download the rest of the folder", where=str(index))
        entries |= open_file(folder / name).entries
    return Source(index, entries, {})


def read_json(path: Path) -> Json:
    """A JSON object from a file. Raises UserError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("the file is missing", "download the rest of the folder", where=str(path)) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"this is not JSON ({error})", "download the file again", where=str(path)) from error
    if not isinstance(value, dict):
        raise UserError("this is not a JSON object", "download the file again", where=str(path))
    return value
