"""Reads torch's .ckpt, .pt and .bin files, and executes nothing in them. No torch is needed.

A pickle is a program: it names functions and calls them. Here only the few names that rebuild tensors mean something; every other name
becomes a placeholder that does nothing, whatever is called on it. Tensors come out as descriptions (`Lazy`) and their bytes stay in the zip
until they are asked for. (Format: torch.save of torch >= 1.6, `archive/data.pkl` and `archive/data/<key>`.)
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.errors import UserError
from engine.headers import DTYPE_BYTES

_AGAIN = "download or copy the file again"
_LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # torch.save before 1.6: a pickled magic number
_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
    "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "U8",
}  # fmt: skip
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "uint16": "U16", "uint32": "U32", "uint64": "U64",
}  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """A storage class or a dtype that the pickle names, as safetensors spells it."""

    dtype: str


@dataclass(frozen=True)
class _Storage:
    """The bytes of one storage: an entry of the zip."""

    key: str
    dtype: str


@dataclass(frozen=True)
class Lazy:
    """A tensor in a checkpoint, not yet read. Offset and strides count elements, as torch counts them."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: str

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in order without gaps."""
        step = 1
        for side, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if side != 1 and stride != step:
                return False
            step *= side
        return True

    @property
    def span(self) -> int:
        """Elements between the first one and the last one, both included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))


class _Inert:
    """What an unknown name becomes: it can be called, subclassed, filled and restored, and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Ignore an element."""

    def extend(self, items: object) -> None:
        """Ignore elements."""

    def add(self, item: object) -> None:
        """Ignore a member."""


def _rebuild(storage: object, offset: object, size: object, strides: object, *rest: object) -> object:
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2; the third version names the dtype after two more values."""
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or not isinstance(size, tuple) or not isinstance(strides, tuple):
        raise pickle.UnpicklingError("a tensor is described in an unknown way")
    numbers = (offset, *size, *strides)
    if len(size) != len(strides) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor has an impossible shape")
    named = rest[2] if len(rest) > 2 else None
    return Lazy(named.dtype if isinstance(named, _Kind) else storage.dtype, size, strides, offset, storage.key)


def _parameter(data: object, *rest: object) -> object:
    """torch._utils._rebuild_parameter: a parameter is its tensor."""
    return data


_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    **{("torch", name): _Kind(dtype) for name, dtype in {**_STORAGES, **_DTYPES}.items()},
    **{("torch.storage", name): _Kind(dtype) for name, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Builds plain containers and `Lazy` tensors; nothing that the file names is imported."""

    def find_class(self, module: str, name: str) -> object:
        known = _KNOWN.get((module, name))
        return known if known is not None else type(name.rpartition(".")[2] or "Inert", (_Inert,), {})

    def persistent_load(self, pid: object) -> object:
        if isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage" and isinstance(pid[1], _Kind):
            return _Storage(str(pid[2]), pid[1].dtype)
        raise pickle.UnpicklingError("a storage is described in an unknown way")


@dataclass(frozen=True)
class Contents:
    """What a zip checkpoint holds: its tensors by name, and where the archive keeps their bytes."""

    tensors: Mapping[str, Lazy]
    root: str  # the folder inside the zip


def is_pickled(start: bytes) -> bool:
    """Whether a file that begins so is a torch checkpoint of any age."""
    return start[:4] == b"PK\x03\x04" or start.startswith(_LEGACY_MAGIC) or _is_tar(start)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def contents(path: Path) -> Contents:
    """The tensors of a checkpoint's `state_dict` (or of its top level). No weight is read, nothing in the file is executed.

    Raises UserError for a file that is incomplete, damaged, or of the format that torch wrote before 1.6.
    """
    with open(path, "rb") as handle:
        start = handle.read(512)
    if start.startswith(_LEGACY_MAGIC) or _is_tar(start):
        raise UserError(
            "this checkpoint is in the old format that PyTorch wrote before 1.6 (2020), which is not read here",
            "load and save it once with a current PyTorch, or look for a .safetensors of the same model",
            where=str(path),
        )
    try:
        with zipfile.ZipFile(path) as archive:
            root = root_of(archive, path)
            with archive.open(f"{root}data.pkl") as stream:
                value = _Unpickler(stream).load()
    except zipfile.BadZipFile as error:
        raise UserError(f"the checkpoint is incomplete or damaged ({error})", _AGAIN, where=str(path)) from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        raise UserError(f"the checkpoint's contents cannot be understood ({error})", _AGAIN, where=str(path)) from error
    return Contents(dict(_tensors(value)), root)


def root_of(archive: zipfile.ZipFile, path: Path) -> str:
    """The folder inside the zip that holds `data.pkl`, with its slash; checks the byte order too."""
    roots = [name[: -len("data.pkl")] for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise UserError(
            "this is a zip archive, but not a PyTorch checkpoint", "unpack it if it holds the model, and give that file", where=str(path)
        )
    order = f"{roots[0]}byteorder"
    if order in archive.namelist() and archive.read(order) != sys.byteorder.encode():
        raise UserError(
            "the checkpoint was written on a machine of the other byte order", "convert it to .safetensors there", where=str(path)
        )
    return roots[0]


def _tensors(value: object) -> Iterator[tuple[str, Lazy]]:
    """The named tensors of a state dict, looking into `state_dict` and into embeddings' `string_to_param`."""
    if not isinstance(value, dict):
        return
    inner = dict.get(value, "state_dict")  # called on the class: a crafted file may shadow an instance's methods
    for name, item in dict.items(inner if isinstance(inner, dict) else value):
        if isinstance(item, Lazy):
            yield str(name), item
        elif isinstance(item, dict):  # one level, for naming what the file is (embedding, hypernetwork)
            yield from ((f"{name}.{key}", entry) for key, entry in dict.items(item) if isinstance(entry, Lazy))


def raw(archive: zipfile.ZipFile, root: str, tensor: Lazy) -> bytearray:
    """The bytes between a tensor's first and last element. Raises UserError when the archive has fewer."""
    size = DTYPE_BYTES[tensor.dtype]
    wanted = tensor.span * size
    name = f"{root}data/{tensor.storage}"
    try:
        if archive.getinfo(name).file_size < tensor.offset * size + wanted:
            raise UserError(
                f"the checkpoint is damaged: the storage of a tensor {list(tensor.shape)} is too short",
                _AGAIN,
                where=archive.filename or "",
            )
        with archive.open(name) as stream:
            stream.seek(tensor.offset * size)
            return _read_all(stream, wanted)
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"the checkpoint is incomplete or damaged ({error})", _AGAIN, where=archive.filename or "") from error


def _read_all(stream: IO[bytes], wanted: int) -> bytearray:
    """Exactly `wanted` bytes, in a buffer that a tensor may own."""
    buffer = bytearray(wanted)
    view, done = memoryview(buffer), 0
    while done < wanted:
        block = stream.read(min(wanted - done, 1 << 24))
        if not block:
            raise EOFError(f"{wanted - done} bytes are missing")
        view[done : done + len(block)] = block
        done += len(block)
    return buffer
