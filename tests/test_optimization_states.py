"""The bytes that an optimizer keeps are those that it really keeps after a step: for every row, and every option that changes them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from engine.optimization import states
from engine.optimization.optimizers import OPTIMIZERS, OptimizerRow

SHAPES = ((3, 5), (64, 100), (4096,), (4095,), (4097,), (7,), (8, 4, 1, 1), (4, 6, 3, 3), (64, 64), (1, 1))
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "AdamW": [{}, {"betas": (0.0, 0.9)}],
    "AdamW8bit": [{}, {"betas": (0.0, 0.9)}],
    "Lion": [{}, {"betas": (0.0, 0.9)}],
    "Adafactor": [{}, {"beta1": 0.9}, {"beta1": 0.0}, {"relative_step": False, "scale_parameter": False}],
    "Prodigy": [{}, {"betas": (0.0, 0.9)}, {"safeguard_warmup": True}],
}
CASES = [pytest.param(row, options, id=f"{row.name} {options}") for row in OPTIMIZERS for options in OPTIONS[row.name]]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What is trained, by its shape."""

    shape: tuple[int, ...]
    zero: bool = False


def kept(row: OptimizerRow, args: dict[str, Any]) -> list[int]:
    """Bytes of the tensors that the optimizer has after a step; every other parameter begins at zero."""
    import torch

    from engine.adapters.base import ParamGroup
    from engine.training.optim import make_optimizer

    if row.package:
        pytest.importorskip(row.package)
    params = [torch.nn.Parameter(torch.full(shape, float(number % 2))) for number, shape in enumerate(SHAPES)]
    optimizer = make_optimizer(row, [ParamGroup("unet", tuple(params), row.recommended_rate or 1e-3)], args)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    return sorted({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


@pytest.mark.parametrize(("row", "args"), CASES)
def test_what_is_said_is_what_is_kept(row: OptimizerRow, args: dict[str, Any]) -> None:
    trained = [Tensor(shape, number % 2 == 0) for number, shape in enumerate(SHAPES)]
    assert sorted(row.state(trained, row.options(**args))) == kept(row, args)


def test_every_row_has_cases() -> None:
    assert set(OPTIONS) == {row.name for row in OPTIMIZERS}


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((3, 5), [60, 60]),
        ((4095,), [16380, 16380]),
        ((4096,), [1024, 1024, 4096, 64, 4096, 64]),
        ((4097,), [1024, 1024, 4097, 68, 4097, 68]),
    ],
)
def test_adamw_8bit_by_hand(shape: tuple[int, ...], sizes: list[int]) -> None:
    """As bitsandbytes documents it: below 4096 values float32; else a byte a value, a float32 scale for each 256, two maps for all."""
    assert list(states.adamw_8bit([Tensor(shape)], None)) == sizes
    own = sizes[sizes.count(1024) :]
    assert list(states.adamw_8bit([Tensor(shape)] * 2, None)) == [*sizes, *own]


def test_nothing_is_kept_for_nothing() -> None:
    assert all(not list(row.state([], row.options())) for row in OPTIMIZERS)
