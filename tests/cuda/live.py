"""Counts the bytes that live on the card, by component.

A storage counts from the operation that makes it until nothing refers to it. Its component is the tag in force when it is made.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.cuda.known import Known
from tests.cuda.pretended import place

_BLOCK = 512  # the caching allocator rounds up to this


@dataclass(frozen=True)
class Peak:
    """The most that was live."""

    size: int
    parts: Mapping[str, int]
    at: str


EVENTS = ("early", "middle", "late")  # of a backward pass: few gradients are there, some, nearly all


class Live(TorchDispatchMode):
    """Bytes of live storages on `cuda`. `answers` has operations whose result the card decides."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self._known = known
        self.size = 0
        self.tag = ""
        self.answers: dict[str, Callable[[Sequence[Any]], object]] = {}
        self.peak = Peak(0, {}, "")
        self.events = dict.fromkeys(EVENTS, 0)  # the most that was live at each
        self.gradients = 0  # bytes of all gradients, once they are known
        self._parts: Counter[str] = Counter()
        self._held: dict[int, tuple[int, list[str]]] = {}  # storage -> its bytes, its component in a list of one

    def begin(self) -> None:
        """Look for a new peak."""
        self.peak = Peak(self.size, dict(self._parts), "the beginning")
        self.events = dict.fromkeys(EVENTS, 0)

    @contextmanager
    def tagged(self, tag: str) -> Iterator[None]:
        """Storages made inside the block belong to this component."""
        before, self.tag = self.tag, tag
        try:
            yield
        finally:
            self.tag = before

    def relabel(self, tensors: Iterable[torch.Tensor], tag: str) -> None:
        """Count these tensors' storages as another component."""
        for tensor in tensors:
            held = self._held.get(tensor.untyped_storage()._cdata)
            if held is not None:
                size, own = held
                self._parts[own[0]] -= size
                self._parts[tag] += size
                own[0] = tag

    def __torch_dispatch__(self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> object:
        name = func.overloadpacket.__name__
        if name in self.answers:
            return self.answers[name](args)
        result = self._known.ask(func, args, kwargs or {})
        if isinstance(result, torch.Tensor):
            self._note(result, name)
        elif isinstance(result, (tuple, list)):
            for one in result:
                if isinstance(one, torch.Tensor):
                    self._note(one, name)
        return result

    def _note(self, tensor: torch.Tensor, name: str) -> None:
        if tensor.device.type != "cuda":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        size, own = -(-storage.nbytes() // _BLOCK) * _BLOCK, [self.tag]
        self._held[key] = size, own
        weakref.finalize(storage, self._gone, key).atexit = False
        self.size += size
        self._parts[self.tag] += size
        if self.size > self.peak.size:
            self.peak = Peak(self.size, dict(self._parts), f"{name} {tuple(tensor.shape)} {tensor.dtype} at {place()}")
        there = self._parts["gradients"]
        event = "early" if 20 * there <= self.gradients else "late" if 10 * there >= 9 * self.gradients else "middle"
        self.events[event] = max(self.events[event], self.size)

    def _gone(self, key: int) -> None:
        size, own = self._held.pop(key)
        self.size -= size
        self._parts[own[0]] -= size
