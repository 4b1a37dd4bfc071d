"""Optimizers, parameter groups, and the learning rate of each step. An optimizer is built from its row.

There is no scheduler object: the rate is worked out from the step and assigned, so a run that starts at step N has the right one.
Host reads: none with AdamW (fused) in any format, and none with Lion and with Adafactor without `scale_parameter` in bf16 and fp32. The
optimizers that read or wait do it for every tensor that they train, once a step: Prodigy reads twice, Adafactor with `scale_parameter`
once, and bitsandbytes' AdamW8bit waits for the whole card (1,444 times a step for SDXL's attention layers). In fp16 the loss scaler reads
once a step with all but AdamW, whose kernel sees an overflow by itself, and `Skips` once in 20 steps as long as none is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import optional
from engine.adapters.base import ParamGroup
from engine.errors import UserError, fault
from engine.optimization.optimizers import OptimizerRow
from engine.optimization.schedules import Position, ScheduleRow, factor


@dataclass(frozen=True)
class RateRule:
    """The schedule of a run: `rate(step) = peak * factor(step)`."""

    row: ScheduleRow
    total: int
    warmup: int
    cycles: int
    power: float

    def at(self, step: int) -> float:
        """The factor for optimizer step `step`, counted from 0."""
        return factor(self.row, Position(step, self.total, self.warmup, self.cycles, self.power))


def require_available(row: OptimizerRow, device: torch.device) -> None:
    """Raise UserError where the optimizer needs a card or a package that does not work here: asked before anything is loaded.

    A package that is optional is tried: one step on the run's device.
    """
    if row.gpu_only and device.type != "cuda":
        raise UserError(f"{row.name} needs an NVIDIA card; this run is on the CPU", "use AdamW", where="optimizer_type")
    package = row.package or row.target.partition(":")[0]
    if row.package:
        why = optional.tried(package, functools.partial(take_step, row, device))
    else:
        why = fault(functools.partial(importlib.import_module, package))
    if why:
        hint = f"use AdamW, or install a `{package}` that works with torch {torch.__version__}"
        raise UserError(f"{row.name} needs the package `{package}`, which does not work here ({why})", hint, where="optimizer_type")


def take_step(row: OptimizerRow, device: torch.device) -> None:
    """One step with the optimizer's defaults over a tensor of its own. Raises whatever the optimizer raises."""
    _class_of(row)  # first of all, so that a package that is not here is told as that
    param = torch.nn.Parameter(torch.ones(64, 128, device=device))  # AdamW8bit keeps a tensor of less than 4,096 in fp32
    param.grad = torch.ones_like(param)
    make_optimizer(row, [ParamGroup("trial", (param,), 1e-3)], {}).step()
    if not bool((param.isfinite() & (param < 1)).all()):
        raise ArithmeticError("its step moves nothing, or breaks what it moves")


def chooses_own_rate(row: OptimizerRow, args: Mapping[str, object]) -> bool:
    """Whether the optimizer sets its own learning rate, so that none may be assigned (Adafactor's relative step)."""
    defaults = {field.name: field.default for field in dataclasses.fields(row.options)}
    return bool({**defaults, **args}.get("relative_step", False))


def _class_of(row: OptimizerRow) -> type[torch.optim.Optimizer]:
    module, _, name = row.target.partition(":")
    return getattr(importlib.import_module(module), name)


def make_optimizer(row: OptimizerRow, groups: Sequence[ParamGroup], args: Mapping[str, object]) -> torch.optim.Optimizer:
    """Build the optimizer over the groups. `args` have been checked against `row.options` by the config."""
    chosen: dict[str, object] = {**{field.name: field.default for field in dataclasses.fields(row.options)}, **args}
    if row.name == "AdamW":
        chosen["fused"] = True  # one kernel, and no read of the step counters on the host, on CPU and CUDA alike
    groups_of = [{"params": list(group.params), "name": group.name, "lr": group.rate} for group in groups]
    if chooses_own_rate(row, args):
        chosen["lr"] = None
        for group in groups_of:
            del group["lr"]
    return _class_of(row)(groups_of, **chosen)  # type: ignore[arg-type]


class Skips:
    """Steps that the loss scaler leaves out because a gradient overflowed: counted on the device, read only when it may matter."""

    LIMIT = 20  # in a row; by then the scaler has come down from 65,536 to 0.06, below which fp16 holds gradients worse and not better

    def __init__(self) -> None:
        self._in_a_row: Tensor | None = None
        self._steps_to_read = self.LIMIT

    def add(self, norm: Tensor) -> None:
        """A step with this gradient norm is over."""
        broken = (~norm.isfinite()).to(torch.int32)
        self._in_a_row = broken if self._in_a_row is None else (self._in_a_row + 1) * broken

    def stuck(self) -> bool:
        """Asked once after each step: whether `LIMIT` steps in a row were left out. Read from the device only where it can be so."""
        self._steps_to_read -= 1
        if self._steps_to_read > 0 or self._in_a_row is None:
            return False
        in_a_row = int(self._in_a_row)
        self._steps_to_read = self.LIMIT - in_a_row
        return in_a_row >= self.LIMIT


class Optimization:
    """An optimizer with its rates: `step(n)` sets them for step n, clips, scales for fp16, and updates."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        groups: Sequence[ParamGroup],
        rule: RateRule,
        *,
        max_grad_norm: float,
        scaler: torch.amp.GradScaler | None,
        follows_rule: bool = True,
    ) -> None:
        self.optimizer = optimizer
        self.rule = rule
        self.scaler = scaler
        self.skips = Skips() if scaler else None
        self.names = [group.name for group in groups]
        self._peaks = [group.rate for group in groups]
        self._params = [param for group in groups for param in group.params]
        self._max_grad_norm = max_grad_norm
        self.follows_rule = follows_rule

    def backward(self, loss: Tensor) -> None:
        """Add this loss's gradients to those gathered since the last step."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, step: int) -> Tensor:
        """Update with the rates of optimizer step `step` (from 0) and clear the gradients. Returns the gradient norm, on the device."""
        if self.follows_rule:
            for group, rate in zip(self.optimizer.param_groups, self.rates(step), strict=True):
                group["lr"] = rate
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        limit = self._max_grad_norm if self._max_grad_norm > 0 else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._params, limit)
        if self.scaler and self.skips:
            self.skips.add(norm)
            self.scaler.step(self.optimizer)  # reads on the host whether a gradient overflowed, but for fused AdamW
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def rates(self, step: int) -> list[float]:
        """The learning rate of each group at a step."""
        scale = self.rule.at(step)
        return [peak * scale for peak in self._peaks]


def notices(row: OptimizerRow, args: Mapping[str, object], groups: Iterable[ParamGroup], schedule: str) -> list[str]:
    """What a person should know about this optimizer's way with the learning rate."""
    told = []
    rates = sorted({group.rate for group in groups})
    if row.recommended_rate is not None and any(rate != row.recommended_rate for rate in rates):
        here = ", ".join(f"{rate:g}" for rate in rates)
        told.append(f"{row.name} estimates the rate itself: learning_rate should be {row.recommended_rate:g}, here it is {here}")
    if chooses_own_rate(row, args):
        unused = f"learning_rate, unet_lr, text_encoder_lr and lr_scheduler `{schedule}` are not used"
        told.append(f"{row.name} with relative_step sets its own rate: {unused}")
    return told
