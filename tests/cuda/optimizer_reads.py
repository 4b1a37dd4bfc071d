"""What the host waits for in one step of each optimizer, on the card that there is, pretended or real. `measure` counts."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import torch

from benchmarks.counts import Count
from engine.adapters.base import ParamGroup
from engine.errors import UserError
from engine.optimization.optimizers import OPTIMIZERS, OptimizerRow
from engine.optimization.schedules import find_schedule
from engine.training.optim import Optimization, RateRule, make_optimizer, require_available

FORMATS = ("bf16", "fp16")  # fp32's steps are those of bf16: without a loss scaler
TENSORS = (2, 5)
_STEPS = 3  # the last is counted: the optimizer's state is there


def measure() -> dict[str, dict[str, list[dict[str, int]]]]:
    """Optimizer -> format -> for each of `TENSORS` the reads and the calls of `synchronize`; empty where its package is missing."""
    return {row.name: _row(row) for row in OPTIMIZERS}


def _row(row: OptimizerRow) -> dict[str, list[dict[str, int]]]:
    try:
        require_available(row, torch.device("cuda"))
    except UserError:
        return {}
    return {format: [_step(row, format, tensors) for tensors in TENSORS] for format in FORMATS}


def _step(row: OptimizerRow, format: str, tensors: int) -> dict[str, int]:
    """Reads and calls of `synchronize` in one step over that many tensors."""
    params = [torch.nn.Parameter(torch.ones(4, 4, device="cuda")) for _ in range(tensors)]
    groups = [ParamGroup("unet", tuple(params), row.recommended_rate or 1e-3)]
    rule = RateRule(find_schedule("constant"), total=_STEPS, warmup=0, cycles=1, power=1.0)
    scaler = torch.amp.GradScaler("cuda") if format == "fp16" else None
    tuned = Optimization(make_optimizer(row, groups, {}), groups, rule, max_grad_norm=1.0, scaler=scaler)
    for step in range(_STEPS):
        tuned.backward(torch.stack([param.square().sum() for param in params]).sum())
        waits, calls = _counted(lambda step=step: tuned.step(step))  # type: ignore[misc]
    return {"reads": waits, "synchronize": calls}


def _counted(code: Callable[[], object]) -> tuple[int, int]:
    with mock.patch("torch.cuda.synchronize") as synchronize, Count() as count:
        code()
    return count.reads.total(), synchronize.call_count
