"""How long a run will take and how large its file will be."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from engine.adapters.base import Method
from engine.data.batches import Batch
from engine.errors import plural
from engine.training.plan import Plan
from engine.training.run import Run
from engine.training.step import Step

_SHORT = 20  # steps; a run so short is over before its time is worth a word


def tell(run: Run, step: Step, methods: Sequence[Method], first: Batch, size: int) -> None:
    """Say how long the training will take and how large (`size`, bytes) the file will be, once everything is in memory."""
    taken = seconds(run.plan, step, methods, first)
    if taken is not None:
        without = ", sample pictures aside" if run.shots else ""
        run.reporter.say(f"time         {duration(taken)}{without} (a step was tried)")
    run.reporter.say(f"file to come {size / 2**20:.1f} MiB")


def seconds(plan: Plan, step: Step, methods: Sequence[Method], batch: Batch) -> float | None:
    """How long the training itself will take, from trying a step on the run's first batch; None for a run of a few steps.

    The gradients are thrown away, and dropout is drawn anew for the first step, so the run stays what it would have been.
    """
    if plan.total_steps < _SHORT:
        return None
    taken = 0.0
    for _ in range(2 if step.device.type == "cuda" else 1):  # a card chooses and loads its kernels the first time
        begun = time.monotonic()
        for method in methods:
            method.prepare(0, batch)
        step(batch)[0].backward()
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
        taken = time.monotonic() - begun
    for parameter in (parameter for method in methods for group in method.parameter_groups() for parameter in group.params):
        parameter.grad = None
    samples, _, height, width = batch.mean.shape
    return taken * _pixels(plan) / (samples * height * width * step.family.latent.stride**2)


def _pixels(plan: Plan) -> float:
    """All that the run will look at, by its first epoch."""
    items = plan.order.scan.items
    sizes = (items[place].placement.bucket for batch in plan.order.epoch(1) for place in batch)
    return sum(width * height for width, height in sizes) * plan.total_steps / plan.order.steps_in(1)


def duration(amount: float) -> str:
    """Seconds in words, as exactly as an estimate is.

    >>> duration(20), duration(100), duration(4000), duration(9000)
    ('less than a minute', 'about 2 minutes', 'about 1 hour 7 minutes', 'about 2 hours 30 minutes')
    """
    minutes = round(amount / 60)
    if minutes < 1:
        return "less than a minute"
    hours, rest = divmod(minutes, 60)
    return "about " + " ".join(part for part in (plural(hours, "hour") if hours else "", plural(rest, "minute") if rest else "") if part)
