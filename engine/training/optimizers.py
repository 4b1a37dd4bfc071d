"""The table of optimizers and learning-rate schedules: names, options and their ranges. Imports no torch.

One more optimizer is one options dataclass and one row of `OPTIMIZERS`; one more schedule is one function and one row of `SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def option(default: Any, help: str) -> Any:
    """A dataclass field with its one line of help. Any, as `dataclasses.field` itself: the annotation beside it holds the type."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class AdamWArgs:
    """Decoupled weight decay regularization (arXiv 1711.05101)."""

    betas: tuple[float, float] = option((0.9, 0.999), "decay of the running mean and of the running square of the gradient")
    eps: float = option(1e-8, "added to the denominator")
    weight_decay: float = option(0.01, "decoupled weight decay, as a share of the learning rate")


@dataclass(frozen=True)
class LionArgs:
    """Symbolic discovery of optimization algorithms (arXiv 2302.06675)."""

    betas: tuple[float, float] = option((0.9, 0.99), "interpolation of the update and decay of the momentum")
    weight_decay: float = option(0.0, "decoupled weight decay, as a share of the learning rate")


@dataclass(frozen=True)
class AdafactorArgs:
    """Adafactor (arXiv 1804.04235)."""

    relative_step: bool = option(True, "let Adafactor choose the rate by itself; learning rates and schedule are then not used")
    scale_parameter: bool = option(True, "scale the rate by the size of the parameters")
    warmup_init: bool = option(False, "start the relative step small; needs relative_step")
    clip_threshold: float = option(1.0, "limit of the root mean square of an update")
    decay_rate: float = option(-0.8, "exponent of the decay of the running square")
    beta1: float | None = option(None, "decay of the running mean; none keeps no mean")
    eps: tuple[float, float] = option((1e-30, 1e-3), "regularisation of the square and of the parameter scale")
    weight_decay: float = option(0.0, "weight decay")


@dataclass(frozen=True)
class ProdigyArgs:
    """Prodigy, which estimates the learning rate (arXiv 2306.06101)."""

    betas: tuple[float, float] = option((0.9, 0.999), "decay of the running mean and square of the gradient")
    beta3: float | None = option(None, "decay of the estimate of the rate; none means the root of the second beta")
    eps: float = option(1e-8, "added to the denominator")
    weight_decay: float = option(0.0, "weight decay")
    decouple: bool = option(True, "decoupled weight decay, as in AdamW")
    use_bias_correction: bool = option(False, "Adam's bias correction")
    safeguard_warmup: bool = option(False, "ignore the warm-up's small rates in the estimate")
    d0: float = option(1e-6, "first estimate of the rate")
    d_coef: float = option(1.0, "factor on the estimated rate")
    growth_rate: float = option(math.inf, "limit on the estimate's growth a step")


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer: where its class is, what it may be given, what it needs, how it treats the learning rate."""

    name: str
    target: str  # "module:Class", imported when it is used
    help: str
    options: type
    package: str = ""  # the package to install when it is optional
    gpu_only: bool = False
    self_tuning: bool = False  # estimates its own rate, and reads its estimate on the host once a step
    recommended_rate: float | None = None  # for self-tuning ones: what `learning_rate` should be


OPTIMIZERS: tuple[OptimizerRow, ...] = (
    OptimizerRow("AdamW", "torch.optim:AdamW", "the usual choice; 8 bytes of state a parameter", AdamWArgs),
    OptimizerRow(
        "AdamW8bit", "bitsandbytes.optim:AdamW8bit", "AdamW with 2 bytes of state a parameter", AdamWArgs, "bitsandbytes", gpu_only=True
    ),
    OptimizerRow("Lion", "lion_pytorch:Lion", "sign of the momentum; use a third to a tenth of AdamW's rate", LionArgs),
    OptimizerRow("Adafactor", "transformers.optimization:Adafactor", "factored state: almost no memory", AdafactorArgs, self_tuning=True),
    OptimizerRow(
        "Prodigy", "prodigyopt:Prodigy", "estimates its rate; set learning_rate to 1", ProdigyArgs, self_tuning=True, recommended_rate=1.0
    ),
)


@dataclass(frozen=True)
class Progress:
    """Where a schedule stands. `step` counts optimizer steps from 0; `warmup` is a number of steps."""

    step: int
    total: int
    warmup: int
    cycles: int = 1
    power: float = 1.0

    @property
    def share(self) -> float:
        """How much of the time after the warm-up has passed, 0 to 1."""
        return min(1.0, max(0.0, (self.step - self.warmup) / max(1, self.total - self.warmup)))


def constant(at: Progress) -> float:
    """1, always."""
    return 1.0


def linear(at: Progress) -> float:
    """From 1 down to 0 in a straight line."""
    return 1.0 - at.share


def cosine(at: Progress) -> float:
    """From 1 down to 0 along half a cosine.

    >>> [round(cosine(Progress(step, 100, 0)), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    """
    return 0.5 * (1.0 + math.cos(math.pi * at.share))


def cosine_with_restarts(at: Progress) -> float:
    """`cycles` times from 1 to 0 along half a cosine, jumping back to 1 between them.

    >>> [round(cosine_with_restarts(Progress(step, 100, 0, cycles=2)), 3) for step in (0, 25, 50, 100)]
    [1.0, 0.5, 1.0, 0.0]
    """
    if at.share >= 1.0:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * ((at.cycles * at.share) % 1.0)))


def polynomial(at: Progress) -> float:
    """From 1 down to 0 along (1 - share) to the `power`."""
    return (1.0 - at.share) ** at.power


@dataclass(frozen=True)
class ScheduleRow:
    """One learning-rate schedule: a pure function of progress."""

    name: str
    factor: Callable[[Progress], float]
    help: str
    warmup: bool = True  # whether `lr_warmup_steps` may be set
    options: type | None = None


SCHEDULES: tuple[ScheduleRow, ...] = (
    ScheduleRow("constant", constant, "the same rate from the first step to the last", warmup=False),
    ScheduleRow("constant_with_warmup", constant, "constant after a linear warm-up"),
    ScheduleRow("linear", linear, "falls to 0 in a straight line"),
    ScheduleRow("cosine", cosine, "falls to 0 along half a cosine"),
    ScheduleRow("cosine_with_restarts", cosine_with_restarts, "lr_scheduler_num_cycles half cosines"),
    ScheduleRow("polynomial", polynomial, "falls along a power, lr_scheduler_power"),
)


def factor(row: ScheduleRow, at: Progress) -> float:
    """The factor on the learning rate at a step: the warm-up's line, then the schedule.

    >>> [factor(SCHEDULES[1], Progress(step, 100, 4)) for step in (0, 1, 4, 50)]
    [0.0, 0.25, 1.0, 1.0]
    """
    if at.step < at.warmup:
        return at.step / at.warmup
    return row.factor(at)
