"""What a run understood: model, pictures, words, length, said at its start."""

from __future__ import annotations

from collections.abc import Sequence

from engine.data import scan
from engine.data.items import Item, Scan, Subset
from engine.device import PRECISION_NAMES
from engine.errors import plural
from engine.training import memory
from engine.training.run import Run
from engine.vram import less, load, told
from engine.vram.estimate import GIB
from engine.vram.exact import of_checkpoint


def introduce(run: Run, name: str) -> None:
    """Say what the run understood: model, pictures, words, length, and what comes out."""
    found, plan, say = run.plan.order.scan, run.plan, run.reporter.say
    run.reporter.heading(f"Training `{name}` on {run.compute.name}, {PRECISION_NAMES[run.compute.precision]}")
    prediction = f"{run.base.prediction}{', zero terminal SNR' if run.base.zero_terminal_snr else ''}"
    say(f"base model   {run.base.path} ({run.base.checkpoint.family}, {prediction})")
    width, height = found.datasets[0].buckets.resolution
    why = (
        ""
        if run.config.data.resolution
        else ", as its file says"
        if run.base.checkpoint.resolution
        else f", as usual for {run.base.family.name}"
    )
    say(f"resolution   {width} x {height}{why}")
    for line in folder_lines(found):
        say(f"pictures     {line}")
    length = f"{plural(plan.total_steps, 'step')}, {plural(plan.epochs, 'epoch')} of {plural(plan.order.steps_in(1), 'step')}"
    say(f"length       {length}; trained: {', '.join(part for part in run.base.family.parts if part in run.chosen.trains)}")
    if run.compute.device.type == "cuda":
        _tell_memory(run)


def _tell_memory(run: Run) -> None:
    """How much of the card the run will hold, where that can be estimated; a warning where less is free."""
    preview = max((shot.width * shot.height for shot in run.shots), default=0)
    sizes = load.pictures(run.plan.order.scan, preview)
    model = of_checkpoint(run.base.checkpoint, run.base.vae)
    found = told.forecast(run.config, model, run.compute.precision, sizes)
    if found is None:
        return
    free = memory.room(run.compute.device)
    run.reporter.say(f"memory       about {found.held / GIB:.1f} GB of the card, {free / GIB:.1f} GB are free; {told.parts(found)}")
    if found.held > free:
        run.reporter.notice(f"the card's memory may not suffice. Where it does not, {less.for_steps(run.config, on_card=True)}")


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
