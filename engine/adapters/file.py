"""Adapter files: reading their modules, and writing one.

A module is told apart by its own tensors, so that a file may mix kinds. A file is written sound or not at all. Every image program reads
them so: `<module>.<end>` tensors, where the ends tell the kind of change (`engine.adapterfiles`), and beside them `<module>.alpha`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine import headers, tensorfile
from engine.adapterfiles import ALPHA, Kind
from engine.adapters.base import Diverged, NothingLearned
from engine.adapters.modules import Outline, grouped, outlines
from engine.errors import UserError

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # in a safetensors header
_SHORT = {torch.float16: (11, -13, 65504.0), torch.bfloat16: (8, -125, 255 * 2.0**120)}  # binary digits, `frexp`'s lowest, largest
_PRECISIONS = {torch.float32: "float", torch.float16: "fp16", torch.bfloat16: "bf16"}  # as `save_precision` names them


@dataclass(frozen=True)
class Module:
    """One module of a file: the tensors of its kind by the ends of their names. `alpha` equals the rank where the file names none."""

    kind: Kind
    tensors: Mapping[str, Tensor]
    alpha: float

    @property
    def rank(self) -> int:
        """The inner dimension of its factors; 1 for a kind without."""
        return self.tensors[self.kind.rank].shape[0] if self.kind.rank else 1

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


def modules(tensors: Mapping[str, Tensor], where: str = "") -> dict[str, Module]:
    """Named tensors -> modules. They may be of several kinds.

    Raises UserError for a tensor of no module, a module of a kind that no method reads, and one that is not whole.
    """
    found, parts = outlines({name: tuple(tensor.shape) for name, tensor in tensors.items()}, where), grouped(tensors, where)
    return {name: _module(name, outline, parts[name], where) for name, outline in found.items()}


def _module(name: str, outline: Outline, parts: Mapping[str, Tensor], where: str) -> Module:
    """One module from its tensors by the ends of their names."""
    alpha = parts.get(ALPHA)
    if alpha is not None and not bool(alpha.isfinite()):
        again = "the file is damaged or half written; save or download it again"
        raise UserError(f"alpha of `{name}` is not a number", again, where=where)
    own = {end: parts[end] for end in outline.kind.suffixes}
    return Module(outline.kind, own, float(outline.rank if alpha is None else alpha))


def write(
    path: Path,
    tensors_in: Callable[[torch.dtype], dict[str, Tensor]],
    is_nothing: Callable[[Mapping[str, Tensor]], bool],
    dtype: torch.dtype,
    metadata: Mapping[str, str],
) -> None:
    """Write an adapter file with this metadata and the two hashes taken over the tensors and `ss_*`.

    `tensors_in(dtype)` gives the tensors, `is_nothing` says whether a file of them would change nothing. Raises Diverged where they are not
    numbers, NothingLearned where they change nothing, UserError where the disk refuses.
    """
    tensors = tensors_in(dtype)
    _require_sound(tensors, lambda: tensors_in(torch.float32), is_nothing, _PRECISIONS.get(dtype, str(dtype)))
    model_hash, legacy_hash = hashes(tensors, {name: value for name, value in metadata.items() if name.startswith("ss_")})
    tensorfile.write(path, tensors, {**metadata, "sshs_model_hash": model_hash, "sshs_legacy_hash": legacy_hash})


def _require_sound(
    tensors: Mapping[str, Tensor],
    exact: Callable[[], Mapping[str, Tensor]],
    is_nothing: Callable[[Mapping[str, Tensor]], bool],
    precision: str,
) -> None:
    """Raise where the tensors are not worth a file; `exact` gives them in float32, to tell what the number format did."""
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        whole = exact()
        if all(bool(whole[name].isfinite().all()) for name in broken):
            told = f"{len(broken)} of the trained tensors hold values that {precision} cannot, such as `{broken[0]}`"
            raise Diverged(told, "lower the learning rate, or set save_precision = float", where="save_precision")
        told = f"the training has diverged: {len(broken)} of {len(tensors)} trained tensors are not numbers any more"
        raise Diverged(told, "lower the learning rate", where="learning_rate")
    if is_nothing(tensors):
        if is_nothing(exact()):
            told = "nothing was learned: the file would leave every layer as it is"
            raise NothingLearned(told, "raise learning_rate; train.log has the losses", where="learning_rate")
        told = f"everything trained is too small for {precision}, in which the file would leave every layer as it is"
        raise NothingLearned(told, "set save_precision = float, or raise the learning rate", where="save_precision")


def size(tensors: Mapping[str, tuple[torch.dtype, Sequence[int]]], metadata: Mapping[str, str]) -> int:
    """Bytes of the file that `write` makes of tensors with these names, dtypes and shapes."""
    hashed = {"sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8}
    return headers.size({name: (_NAMES[dtype], shape) for name, (dtype, shape) in tensors.items()}, {**metadata, **hashed})


def exact(value: float, dtype: torch.dtype) -> Tensor:
    """A scalar in the dtype that a file has it in; on the CPU."""
    return torch.tensor(value, dtype=exact_dtype(value, dtype))


def exact_dtype(value: float, dtype: torch.dtype) -> torch.dtype:
    """`dtype` where that holds the value exactly, else float32. By arithmetic, so that it needs no tensor.

    >>> exact_dtype(0.5, torch.float16), exact_dtype(0.1, torch.bfloat16), exact_dtype(1e6, torch.float16)
    (torch.float16, torch.float32, torch.float32)
    """
    digits, lowest, largest = _SHORT.get(dtype, (0, 0, 0.0))
    fraction, exponent = math.frexp(value)
    left = digits + min(exponent - lowest, 0)
    return dtype if abs(value) <= largest and math.ldexp(fraction, left).is_integer() else torch.float32


def hashes(tensors: Mapping[str, Tensor], ss_metadata: Mapping[str, str]) -> tuple[str, str]:
    """`sshs_model_hash` and `sshs_legacy_hash` of a file of these tensors; `ss_metadata` holds its `ss_*` entries alone.

    The first is SHA-256 over everything behind the header. The second is the first 8 digits of SHA-256 over bytes 0x100000 to 0x110000 of
    the file as it would be with this metadata (sd-webui-additional-networks' rule; a smaller file has the hash of nothing).
    """
    raw = tensorfile.serialise(tensors, ss_metadata)
    start = 8 + int.from_bytes(raw[:8], "little")
    return hashlib.sha256(memoryview(raw)[start:]).hexdigest(), hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8]
