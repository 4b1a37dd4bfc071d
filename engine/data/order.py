"""Which samples make which batch, for the whole run. Pure functions of the items, the seed and the epoch.

Randomness belongs to the sample: its flip and its caption are drawn from (seed, purpose, index of the sample in the run), so neither
batches, processes nor resuming change them.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine import seeds
from engine.data.captions import render, varies
from engine.data.items import Item, Scan


@dataclass(frozen=True)
class Sample:
    """One picture as one sample sees it. `index` counts the samples of the whole run from 0."""

    item: int  # index into Scan.items
    index: int
    flip: bool
    caption: str


@dataclass(frozen=True)
class Planned:
    """One batch before its pictures are read. `epoch` counts from 1, `step` (optimizer steps) and `first` (samples) from 0."""

    epoch: int
    step: int
    first: int
    items: tuple[int, ...]
    closes_step: bool  # the optimizer steps after this batch
    closes_epoch: bool


def generator(seed: int, purpose: str, index: int) -> random.Random:
    """The random numbers for one purpose of one sample (or epoch): the same on every machine, whatever was drawn before."""
    return random.Random(seeds.derived(seed, purpose, index))


def regularisation_counts(repeats: Sequence[int], wanted: int, epoch: int = 1) -> list[int]:
    """How often each regularisation picture is used in an epoch, so that there are as many as the `wanted` training samples.

    sd-scripts takes the pictures in order, each with its repeats, until the sum reaches `wanted`, and walks the list again (one more
    each) where it does not. Epoch 1 is exactly that; later epochs start where the one before stopped, so that all pictures get used.

    >>> [regularisation_counts([1, 1, 1], 2, epoch) for epoch in (1, 2, 3)]
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    >>> regularisation_counts([2, 2], 7)
    [4, 3]
    """
    total = sum(repeats)
    if not total:
        return []
    if total < wanted:
        return _window(list(repeats), [1] * len(repeats), wanted - total, epoch)
    used, sums = 0, 0
    while sums < wanted:
        sums += repeats[used]
        used += 1
    return _window([0] * len(repeats), list(repeats), sums, epoch)


def _window(base: list[int], units: list[int], length: int, epoch: int) -> list[int]:
    """`base` plus the epoch's window of `length` units, the pictures with their units lying in a circle."""
    circle = [picture for picture, count in enumerate(units) for _ in range(count)]
    start = (epoch - 1) * length
    for offset in range(length):
        base[circle[(start + offset) % len(circle)]] += 1
    return base


def uses(items: Sequence[Item], epoch: int) -> list[int]:
    """How often each item appears in this epoch: its repeats, or its share as a regularisation picture. Per data set."""
    counts = [item.repeats for item in items]
    for dataset in sorted({item.dataset for item in items if item.is_reg}):
        wanted = sum(item.repeats for item in items if item.dataset == dataset and not item.is_reg)
        places = [place for place, item in enumerate(items) if item.dataset == dataset and item.is_reg]
        chosen = regularisation_counts([items[place].repeats for place in places], wanted, epoch)
        for place, count in zip(places, chosen, strict=True):
            counts[place] = count
    return counts


def epoch_order(items: Sequence[Item], batch_sizes: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
    """The epoch's batches as lists of item indices: every bucket shuffled and cut up, partial batches kept, batches shuffled.

    `batch_sizes` holds one number a data set. Batches of several data sets are interleaved; a batch never mixes them, nor buckets.
    """
    buckets: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for place, count in enumerate(uses(items, epoch)):
        width, height = items[place].placement.bucket
        buckets[items[place].dataset, width, height].extend([place] * count)
    rng = generator(seed, "order", epoch)
    batches: list[list[int]] = []
    for key in sorted(buckets):
        members = buckets[key]
        rng.shuffle(members)
        size = batch_sizes[key[0]]
        batches.extend(members[start : start + size] for start in range(0, len(members), size))
    rng.shuffle(batches)
    return batches


class Order:
    """The order of a whole run: how many steps its epochs have, and its batches from any sample on.

    An optimizer step takes `accumulation` batches of each of `world` processes; the last step of an epoch takes what is left.
    With several processes an epoch is filled up with its own first batches, so that each process gets as many.
    """

    def __init__(self, scan: Scan, seed: int, *, accumulation: int = 1, world: int = 1) -> None:
        self.scan = scan
        self.seed = seed
        self.accumulation = accumulation
        self.world = world
        self._constant = not any(item.is_reg for item in scan.items)
        self._sizes: dict[int, tuple[int, int]] = {}

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of all processes in this epoch (from 1)."""
        batches = epoch_order(self.scan.items, self.scan.batch_sizes, self.seed, epoch)
        missing = -len(batches) % self.world
        return batches + [list(batches[place % len(batches)]) for place in range(missing)]

    def steps_in(self, epoch: int) -> int:
        """Optimizer steps of this epoch. Differs between epochs only where the regularisation pictures change."""
        return self._size(epoch)[0]

    def steps(self, epochs: int) -> int:
        """Optimizer steps of the first `epochs` epochs together."""
        if self._constant:
            return epochs * self.steps_in(1)
        return sum(self.steps_in(epoch) for epoch in range(1, epochs + 1))

    def epochs(self, steps: int) -> int:
        """The epoch (from 1) in which a run of so many steps ends."""
        epoch = 1
        while (steps := steps - self.steps_in(epoch)) > 0:
            epoch += 1
        return epoch

    def length(self, steps: int, epochs: int | None) -> tuple[int, int]:
        """Optimizer steps and epochs of a run whose settings give either; epochs win, as in sd-scripts."""
        return (self.steps(epochs), epochs) if epochs else (steps, self.epochs(steps))

    def sample_at(self, step: int) -> int:
        """Index of the first sample of this optimizer step (from 0): where to start to resume after `step` finished steps."""
        epoch, sample = 1, 0
        while step >= self.steps_in(epoch):
            step -= self.steps_in(epoch)
            sample += self._size(epoch)[1]
            epoch += 1
        return sample + sum(len(batch) for batch in self.epoch(epoch)[: step * self.accumulation * self.world])

    def batches(self, sample: int = 0, *, rank: int = 0) -> Iterator[Planned]:
        """This process's batches, without end, from the batch that starts at or after `sample` (an index of the whole run) on."""
        epoch, step, first = 1, 0, 0
        while first + self._size(epoch)[1] <= sample:
            step, first, epoch = step + self.steps_in(epoch), first + self._size(epoch)[1], epoch + 1
        while True:
            batches = self.epoch(epoch)
            rounds = len(batches) // self.world
            for place, batch in enumerate(batches):
                turn = place // self.world
                if place % self.world == rank and first >= sample:
                    last = turn == rounds - 1
                    closes_step = last or turn % self.accumulation == self.accumulation - 1
                    yield Planned(epoch, step + turn // self.accumulation, first, tuple(batch), closes_step, last)
                first += len(batch)
            step += -(-rounds // self.accumulation)
            epoch += 1

    def _size(self, epoch: int) -> tuple[int, int]:
        """Steps and samples of an epoch; remembered, since most runs ask often and it rarely changes."""
        key = 1 if self._constant else epoch
        if key not in self._sizes:
            if not self.scan.items:
                raise ValueError("an epoch of no pictures")
            batches = self.epoch(key)
            self._sizes[key] = (math.ceil(len(batches) / self.world / self.accumulation), sum(map(len, batches)))
        return self._sizes[key]


def samples(scan: Scan, planned: Planned, seed: int, max_steps: int) -> list[Sample]:
    """The batch's samples with their flips and captions drawn. `max_steps` is the run's length in optimizer steps."""
    drawn = []
    for offset, place in enumerate(planned.items):
        item, index = scan.items[place], planned.first + offset
        flip = item.flip_aug and generator(seed, "flip", index).random() < 0.5
        caption = render(
            item.caption,
            scan.caption_options(item),
            generator(seed, "caption", index),
            epoch=planned.epoch,
            step=planned.step,
            max_steps=max_steps,
        )
        drawn.append(Sample(place, index, flip, caption))
    return drawn


@dataclass(frozen=True)
class RunCaptions:
    """The distinct captions of a run in the order of their first use. `varying` counts the pictures whose caption changes.

    `complete` is False where there were more than allowed; `captions` then holds those found until that point.
    """

    captions: tuple[str, ...]
    varying: int
    complete: bool


def run_captions(order: Order, max_steps: int, *, sample: int = 0, limit: int | None = None) -> RunCaptions:
    """Every distinct caption that the text encoder will see from `sample` to the end of the run, over all processes.

    `limit` is the number allowed (a cap in bytes divided by the bytes of one encoded caption).
    """
    scan = order.scan
    varying = [varies(item.caption, scan.caption_options(item)) for item in scan.items]
    if not any(varying):
        rng = random.Random(0)  # nothing is drawn from it: no caption varies
        fixed = dict.fromkeys(render(item.caption, scan.caption_options(item), rng) for item in scan.items)
        return RunCaptions(tuple(fixed), 0, limit is None or len(fixed) <= limit)
    seen: dict[str, None] = {}
    for rank in range(order.world):
        for planned in _until(order.batches(sample, rank=rank), max_steps):
            seen.update(dict.fromkeys(drawn.caption for drawn in samples(scan, planned, order.seed, max_steps)))
            if limit is not None and len(seen) > limit:
                return RunCaptions(tuple(seen), sum(varying), False)
    return RunCaptions(tuple(seen), sum(varying), True)


def _until(batches: Iterator[Planned], max_steps: int) -> Iterator[Planned]:
    """The batches of the first `max_steps` steps."""
    for planned in batches:
        if planned.step >= max_steps:
            return
        yield planned
