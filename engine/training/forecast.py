"""What is said before a run begins: its folders, its time, its file.

What each folder teaches is said first; time and size follow when everything is in memory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from engine.adapters.base import Method
from engine.data import scan
from engine.data.batches import Batch
from engine.data.folder import Item, Scan, Subset
from engine.errors import plural
from engine.training.plan import Plan
from engine.training.step import Step

_SHORT = 20  # steps; a run so short is over before its time is worth a word


def folder_lines(found: Scan) -> list[str]:
    """A line a folder: repeats, pictures, captions, and the words that it really teaches."""
    triggers = scan.trigger_words(found)
    lines = []
    for number, subset in enumerate(found.subsets):
        items = [item for item in found.items if item.subset == number]
        kind = "regularisation, " if subset.is_reg else ""
        size = f"{plural(len(items), 'picture')} x {plural(subset.repeats, 'repeat')}"
        parts = [f"{subset.directory.name}: {kind}{size}", f"captions from {scan.captions_from(subset, items)}"]
        if not subset.is_reg:
            words = triggers.get(number, ())
            parts.append(_learned(items, words))
            parts.extend(_unused_name(subset, items, words))
        lines.append("; ".join(parts))
    return lines


def _learned(items: Sequence[Item], words: Sequence[str]) -> str:
    """The words that call up what the folder teaches."""
    if words:
        return "learns " + ", ".join(f"`{word}`" for word in words)
    return "learns the words of its captions" if any(item.caption.strip() for item in items) else "learns no words"


def _unused_name(subset: Subset, items: Sequence[Item], words: Sequence[str]) -> list[str]:
    """That the folder's name is not among what is learned, because every picture has a caption of its own without it."""
    name = subset.class_tokens
    if not name or name in words or any(item.caption_source != "file" or name in item.caption for item in items):
        return []
    return [f"not `{name}`, which is in no caption"]


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
