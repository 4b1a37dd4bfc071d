"""What a piece of code asks of the device. That is operations, and values that the host waits for."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# These give out memory or another name for a tensor; nothing runs on the device.
_NOTHING_TO_DO = frozenset(("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"))
# Their result's value or shape depends on the tensors' values, so the host waits for it.
_WAITS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_INDEXING = ("index", "index_put", "index_put_")  # wait only where the index is a mask


class Count(TorchDispatchMode):
    """Counts, inside its block, what reaches the device, the backward pass included.

    `operations`: dispatched operations by name, without views and allocations; one of them is one kernel or a few.
    `reads`: those that the host waits for: `_local_scalar_dense` (`.item()`, `bool()`), shapes that depend on values, copies to the CPU.
    `places`: those of them that wait for another device than the CPU, by (operation, line of ours).
    `uploads`: tensors copied from the CPU to another device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.places: Counter[tuple[str, str]] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.namespace == "aten" and not func.is_view and name not in _NOTHING_TO_DO:
            self.operations[name] += 1
        if _waits(func, name, args):
            self._read(name, any(isinstance(value, Tensor) and value.device.type != "cpu" for value in args))
        for source, target in _copies(name, args, result):
            if source.device.type != "cpu" and target.device.type == "cpu":
                self._read("copy to the CPU", True)
            elif source.device.type == "cpu" and target.device.type != "cpu":
                self.uploads[name] += 1
        return result

    def _read(self, name: str, from_device: bool) -> None:
        self.reads[name] += 1
        if from_device:
            self.places[name, place()] += 1


def place() -> str:
    """The nearest line of ours and its function, as `training/loop.py:55 run`; of another library where none of ours is near."""
    frame, outer = sys._getframe(1), ""
    for _ in range(80):
        name = frame.f_code.co_filename.replace("\\", "/")
        named = frame.f_back if frame.f_code.co_name.startswith("<") and frame.f_back else frame  # a comprehension, before Python 3.12
        told = f":{frame.f_lineno} {named.f_code.co_name}"
        if "/engine/" in name and "site-packages" not in name:
            return name.rpartition("/engine/")[2] + told
        if not outer and not any(folder in name for folder in ("/torch/", "/tests/cuda/", "/benchmarks/")):
            outer = name.rpartition("/")[2] + told
        if frame.f_back is None:
            break
        frame = frame.f_back
    return outer or "?"


def _waits(func: Any, name: str, args: Sequence[Any]) -> bool:
    """Whether the host waits for the result of this operation."""
    if name in _INDEXING:
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return any(tag in func.tags for tag in _WAITS)


def _copies(name: str, args: Sequence[Any], result: object) -> Iterator[tuple[Tensor, Tensor]]:
    """(from, to) of an operation that copies."""
    if name == "copy_":
        yield args[1], args[0]
    elif name == "_to_copy" and isinstance(result, Tensor):
        yield args[0], result


def counted(code: Callable[[], object]) -> Count:
    """What `code` asks of the device."""
    with Count() as count:
        code()
    return count
