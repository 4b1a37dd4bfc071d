"""What each optimizer keeps: the bytes of its tensors, by shapes alone.

Whatever is trained is float32, and so is a state unless something else is said. Numbers that are kept on the host are not counted. Pure;
imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

_FLOAT = 4  # bytes

# bitsandbytes 0.50 (`Optimizer2State.init_state`)
_LEAST_8BIT = 4096  # values; a smaller tensor keeps states in float32
_BLOCK = 256  # values that share a scale
_MAP = 256  # values that 8 bits stand for


class Trained(Protocol):
    """A tensor that is trained."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def zero(self) -> bool:
        """Whether all its values are 0 before the first step."""


State = Callable[[Sequence[Trained], Any], Iterable[int]]  # what is trained, the row's options -> bytes of each tensor that is kept


def adamw(trained: Sequence[Trained], options: object) -> Iterator[int]:
    """Mean, square and a step counter a tensor."""
    for tensor in trained:
        yield from (_values(tensor), _values(tensor), _FLOAT)


def adamw_8bit(trained: Sequence[Trained], options: object) -> Iterator[int]:
    """Mean and square: a byte a value and a scale a block, or float32 for a small tensor. The two maps of values serve all tensors."""
    short = [tensor for tensor in trained if math.prod(tensor.shape) >= _LEAST_8BIT]
    yield from (_MAP * _FLOAT, _MAP * _FLOAT) if short else ()
    for tensor in trained:
        count = math.prod(tensor.shape)
        one = (count, math.ceil(count / _BLOCK) * _FLOAT) if count >= _LEAST_8BIT else (count * _FLOAT,)
        yield from (*one, *one)


def lion(trained: Sequence[Trained], options: object) -> Iterator[int]:
    """The momentum."""
    return map(_values, trained)


def adafactor(trained: Sequence[Trained], beta1: float | None) -> Iterator[int]:
    """The square by rows and columns of the last two dimensions, whole for a vector; the parameter's size; with `beta1` the mean."""
    for tensor in trained:
        shape = tensor.shape
        if len(shape) >= 2:
            yield from (math.prod(shape[:-1]) * _FLOAT, math.prod((*shape[:-2], shape[-1])) * _FLOAT)
        else:
            yield _values(tensor)
        yield _FLOAT
        if beta1 is not None:
            yield _values(tensor)


def prodigy(trained: Sequence[Trained], beta1: float) -> Iterator[int]:
    """Square, the estimate's sum, where the parameter began (one number where that is zero throughout), and the mean unless it is off."""
    for tensor in trained:
        yield from (_values(tensor), _values(tensor), _FLOAT if tensor.zero else _values(tensor))
        if beta1 > 0:
            yield _values(tensor)


def _values(tensor: Trained) -> int:
    return math.prod(tensor.shape) * _FLOAT
