"""The table of learning-rate schedules: pure functions of how far a run is. One more is one function and one row of `SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import find_row


@dataclass(frozen=True)
class Position:
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


def constant(at: Position) -> float:
    """1, always."""
    return 1.0


def linear(at: Position) -> float:
    """From 1 down to 0 in a straight line."""
    return 1.0 - at.share


def cosine(at: Position) -> float:
    """From 1 down to 0 along half a cosine.

    >>> [round(cosine(Position(step, 100, 0)), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    """
    return 0.5 * (1.0 + math.cos(math.pi * at.share))


def cosine_with_restarts(at: Position) -> float:
    """`cycles` times from 1 to 0 along half a cosine, jumping back to 1 between them.

    >>> [round(cosine_with_restarts(Position(step, 100, 0, cycles=2)), 3) for step in (0, 25, 50, 100)]
    [1.0, 0.5, 1.0, 0.0]
    """
    if at.share >= 1.0:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * ((at.cycles * at.share) % 1.0)))


def polynomial(at: Position) -> float:
    """From 1 down to 0 along (1 - share) to the `power`."""
    return (1.0 - at.share) ** at.power


@dataclass(frozen=True)
class ScheduleRow:
    """One learning-rate schedule: a pure function of progress."""

    name: str
    factor: Callable[[Position], float]
    help: str


SCHEDULES: tuple[ScheduleRow, ...] = (
    ScheduleRow("constant", constant, "the same rate from the first step to the last"),
    ScheduleRow("constant_with_warmup", constant, "constant after a linear warm-up"),
    ScheduleRow("linear", linear, "falls to 0 in a straight line"),
    ScheduleRow("cosine", cosine, "falls to 0 along half a cosine"),
    ScheduleRow("cosine_with_restarts", cosine_with_restarts, "lr_scheduler_num_cycles half cosines"),
    ScheduleRow("polynomial", polynomial, "falls along a power, lr_scheduler_power"),
)


def factor(row: ScheduleRow, at: Position) -> float:
    """The factor on the learning rate at a step: the warm-up's line, then the schedule.

    >>> [factor(SCHEDULES[1], Position(step, 100, 4)) for step in (0, 1, 4, 50)]
    [0.0, 0.25, 1.0, 1.0]
    """
    if at.step < at.warmup:
        return at.step / at.warmup
    return row.factor(at)


def find_schedule(name: str) -> ScheduleRow:
    """The row of a schedule. Raises UserError with the nearest name."""
    return find_row(SCHEDULES, name, "schedule", "lr_scheduler")
