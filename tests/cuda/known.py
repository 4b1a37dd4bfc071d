"""Answers operations on fake tensors from what the same operation gave before.

FakeTensorMode takes about a millisecond for an operation, most of it for finding its own answer again. A step has tens of thousands of
them and only hundreds of different ones. Here an operation is known by its function and by shape, strides and format of its tensors, and
a known one is answered with tensors made at once. Only operations on the card alone are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

_CARD = torch.device("cuda", 0)
_UNKNOWABLE = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class _Made(NamedTuple):
    """A tensor of the result. `of`: the number of the tensor that is given back, or whose storage it looks at; None for a new storage."""

    of: int | None
    same: bool
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype


class _Kept(NamedTuple):
    """A value of the result that is no tensor."""

    value: object


Plan = Any  # _Made, _Kept, or a list or tuple of these


class Known:
    """A memory of operations. `ask(func, args, kwargs)` gives an operation's result."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = mode
        self._plans: dict[object, Plan] = {}

    def ask(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        """The result, from memory where it can be."""
        tensors: list[torch.Tensor] = []
        try:
            key = (func, _signature(args, tensors), _signature(tuple(kwargs.items()), tensors))
        except _Stranger:
            return func(*args, **kwargs)
        plan = self._plans.get(key)
        if plan is not None:
            return self._result(plan, tensors)
        result = func(*args, **kwargs)
        if tensors and not any(tag in func.tags for tag in _UNKNOWABLE):
            plan = _plan(result, tensors)
            if plan is not None:
                self._plans[key] = plan
        return result

    def _result(self, plan: Plan, tensors: Sequence[torch.Tensor]) -> object:
        if isinstance(plan, _Made):
            if plan.same:
                return tensors[plan.of or 0]
            with torch._C._DisableTorchDispatch():
                made = torch.empty_strided(plan.shape, plan.stride, dtype=plan.dtype, device="meta")
                if plan.of is not None:
                    made.set_(tensors[plan.of].untyped_storage(), plan.offset, plan.shape, plan.stride)  # type: ignore[call-overload]
            return FakeTensor(self.mode, made, _CARD)
        if isinstance(plan, _Kept):
            return plan.value
        return type(plan)(self._result(one, tensors) for one in plan)


class _Stranger(Exception):
    """An argument by which an operation cannot be known."""


def _signature(value: Any, tensors: list[torch.Tensor]) -> object:
    """What stands for an argument; its tensors are gathered."""
    if isinstance(value, FakeTensor):
        if value.fake_device.type != "cuda":
            raise _Stranger
        tensors.append(value)
        return value.dtype, tuple(value.shape), value.stride(), value.storage_offset()
    if isinstance(value, (tuple, list)):
        return tuple(_signature(one, tensors) for one in value)
    if isinstance(value, torch.Tensor):
        raise _Stranger
    return type(value), value


def _plan(result: object, tensors: Sequence[torch.Tensor]) -> Plan:
    """How to make the result again; None where that is not possible."""
    if isinstance(result, FakeTensor):
        if result.fake_device.type != "cuda" or result.layout is not torch.strided:
            return None
        shape, stride = tuple(result.shape), tuple(result.stride())
        for number, tensor in enumerate(tensors):
            if tensor is result:
                return _Made(number, True, shape, stride, 0, result.dtype)
        storage = result.untyped_storage()._cdata
        of = next((number for number, tensor in enumerate(tensors) if tensor.untyped_storage()._cdata == storage), None)
        if of is None and (result.storage_offset() or result.untyped_storage().nbytes() > _span(shape, stride) * result.dtype.itemsize):
            return None
        return _Made(of, False, shape, stride, result.storage_offset(), result.dtype)
    if type(result) in (tuple, list):
        plans = [_plan(one, tensors) for one in result]  # type: ignore[attr-defined]
        return None if any(plan is None for plan in plans) else type(result)(plans)  # type: ignore[call-arg]
    if result is None or isinstance(result, (int, float, bool)):
        return _Kept(result)
    return None


def _span(shape: Sequence[int], stride: Sequence[int]) -> int:
    """Elements from the first to the last."""
    return 0 if 0 in shape else 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
