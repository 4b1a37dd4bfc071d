"""Trains U-Net and text encoders with the engine's own step and loop. Families and objective are the engine's too."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import models, seeds
from engine.adapters.base import ParamGroup
from engine.data.batches import Batch
from engine.data.order import Planned, Sample
from engine.diffusion.objective import Objective, draw
from engine.diffusion.schedule import schedule
from engine.models.family import Family
from engine.models.specs import Spec
from engine.optimization.optimizers import find_optimizer
from engine.optimization.schedules import find_schedule
from engine.training import loop
from engine.training.loop import Update
from engine.training.metrics import Sums
from engine.training.optim import Optimization, RateRule, make_optimizer
from engine.training.step import Step
from recipes.micro_base import dataset, drawing, words
from recipes.micro_base.dataset import Data
from recipes.micro_base.snapshot import Snapshot
from recipes.micro_base.weights import network

BATCH = 32
OBJECTIVE = Objective(debiased_estimation=True)  # what and where is decided where noise is strong; plainly weighed, that counts for little
SIZES = (64, 1024)  # pixels: the range of the original sizes that families conditioned on them are told; they mean nothing here


@dataclass(frozen=True)
class Phase:
    """A part of the training, with a snapshot and an optimizer of its own."""

    name: str
    steps: int
    text_rate: float  # the encoders' learning rate; all rates go half a cosine down, from here and from RATE
    warmup: int  # steps


PHASES = (
    Phase("listening", 4000, 1e-4, 300),  # faster, an encoder forgets what `words` taught it before the U-Net has begun to listen
    Phase("together", 2000, 1e-3, 100),
)
RATE = 1e-3  # of the U-Net


class Whole:
    """Full training to the loop: nothing to prepare before a step, nothing to mend after it."""

    def prepare(self, micro_step: int, batch: object) -> None:
        """Nothing is drawn inside the networks."""

    def after_step(self) -> dict[str, Tensor]:
        """No statistics of its own."""
        return {}


def train(
    name: str,
    family_name: str,
    specs: Mapping[str, Spec],
    vae: nn.Module,
    seed: int,
    work: Path,
    device: torch.device,
    bf16: bool,
    say: Callable[[str], None],
) -> dict[str, nn.Module]:
    """Train a family's U-Net and text encoders, continuing from the snapshots in `work`; all parts, the autoencoder too, float32."""
    family = models.get(family_name)
    parts = {part: network(spec, f"{family_name}.{part}", seed).to(device) for part, spec in specs.items() if part != "vae"}
    for part in parts.values():
        part.train().requires_grad_(True)
    data = functools.cache(lambda: dataset.prepare(vae, seed, device))  # where all is done, nothing is drawn
    first = 0
    for phase in PHASES:
        _run(phase, first, family, parts, data, seed, work / f"{name}-{phase.name}.pt", bf16, say)
        first += phase.steps
    for part in parts.values():
        part.eval().requires_grad_(False)
    return {**parts, "vae": vae}


def _run(
    phase: Phase,
    first: int,
    family: Family,
    parts: Mapping[str, nn.Module],
    data: Callable[[], Data],
    seed: int,
    snapshot: Path,
    bf16: bool,
    say: Callable[[str], None],
) -> None:
    """One phase, after so many steps of those before it, from its snapshot where there is one."""
    device = next(parts["unet"].parameters()).device
    encoders = {part: parts[part] for part in family.text_parts}
    groups = [ParamGroup(part, tuple(network.parameters()), RATE if part == "unet" else phase.text_rate) for part, network in parts.items()]
    optimizer = make_optimizer(find_optimizer("AdamW"), groups, {"weight_decay": 0.0, "betas": (0.9, 0.99)})
    kept = Snapshot(snapshot, parts, optimizer)
    done = kept.restore()
    if done == phase.steps:
        return
    if first + done == 0:
        words.teach(family, encoders, data(), seed, device, say)
    rule = RateRule(find_schedule("cosine"), phase.steps, phase.warmup, 1, 1.0)
    step = Step(family, parts["unet"], encoders, OBJECTIVE, schedule(False).to(device), device, torch.float32, None, frozenset(parts))
    sums = Sums(device)

    def micro_step(batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return step(batch)

    def after(update: Update) -> None:
        if update.step % 100 == 0:
            say(f"{phase.name}: step {update.step} of {phase.steps}, loss {sums.read()[0]['loss'].mean:.4f}")
        if kept.due() or update.step == phase.steps:
            kept.write(update.step)

    updates = (Update(number, 1, (BATCH,), number - 1, False) for number in range(done + 1, phase.steps + 1))
    shown = batches(family, data(), seed, range(first + done, first + phase.steps))
    optimization = Optimization(optimizer, groups, rule, max_grad_norm=1.0, scaler=None)
    loop.run(updates, shown, micro_step, optimization, [Whole()], sums, after, lambda: False)


def batches(family: Family, data: Data, seed: int, numbers: Iterable[int]) -> Iterator[Batch]:
    """The batches of these numbers; each is a function of the seed and its number."""
    for number in numbers:
        first = number * BATCH
        indices = range(first, first + BATCH)
        shown = tuple(_picture(index, seed, len(data.captions)) for index in indices)
        captions = [
            data.caption(item, random.Random(seeds.derived(seed, "caption", index))) for item, index in zip(shown, indices, strict=True)
        ]
        draws = [draw(seed, index, data.mean.shape[1:]) for index in indices]
        yield Batch(
            plan=Planned(1, number, first, shown, True, False),
            samples=tuple(Sample(item, index, False, text) for item, index, text in zip(shown, indices, captions, strict=True)),
            mean=data.mean[list(shown)],
            std=data.std[list(shown)],
            latent_noise=torch.stack([one.latent_noise for one in draws]),
            noise=torch.stack([one.noise for one in draws]),
            t=torch.stack([one.t for one in draws]),
            size=torch.tensor([_size(index, seed) for index in indices]),
            weight=torch.ones(BATCH),
            ids=family.tokenize(captions),
        )


def _picture(index: int, seed: int, count: int) -> int:
    """Which picture a sample shows: every one once in each round, in an order of its own."""
    return _round(index // count, seed, count)[index % count]


@functools.lru_cache(maxsize=2)
def _round(number: int, seed: int, count: int) -> list[int]:
    order = list(range(count))
    random.Random(seeds.derived(seed, "order", number)).shuffle(order)
    return order


def _size(index: int, seed: int) -> list[int]:
    """Original height and width, crop, target height and width."""
    original = random.Random(seeds.derived(seed, "size", index)).randint(*SIZES)
    return [original, original, 0, 0, drawing.SIDE, drawing.SIDE]
