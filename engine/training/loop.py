"""The training loop: accumulate, clip, step, hand over. It knows nothing of diffusion, model families or methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from engine.training.metrics import Sums
from engine.training.optim import Optimization


@dataclass(frozen=True)
class Update:
    """One optimizer step: which it is, and the sizes of the micro-batches it gathers."""

    step: int  # counted from 1 over the whole run
    epoch: int  # counted from 1
    sizes: tuple[int, ...]  # samples in each micro-batch
    first_micro: int  # number of the first micro-batch over the whole run, from 0
    ends_epoch: bool


class Trained(Protocol):
    """What the loop asks of a method: be told of each micro-batch, and act on the weights after a step."""

    def prepare(self, micro_step: int, batch: object) -> None: ...

    def after_step(self) -> dict[str, Tensor]: ...


BatchT = TypeVar("BatchT")


class Interrupted(Exception):
    """The user asked to stop; the step in progress was finished first."""


def run(
    updates: Iterable[Update],
    batches: Iterator[BatchT],
    micro_step: Callable[[BatchT], tuple[Tensor, Tensor]],
    optimization: Optimization,
    methods: Sequence[Trained],
    sums: Sums,
    after: Callable[[Update], None],
    stopping: Callable[[], bool],
) -> None:
    """Train through `updates`.

    `micro_step(batch)` gives the mean loss of a micro-batch (a scalar with a graph) and the per-sample losses to be logged, both on
    the device. Each micro-batch counts by its share of the samples in the step, so that how a step is cut into micro-batches changes
    nothing. `after(update)` logs, draws previews and saves. Nothing is read back from the device here.
    Raises Interrupted after a finished step when `stopping()` says so.
    """
    for update in updates:
        samples = sum(update.sizes)
        for micro, size in enumerate(update.sizes, start=update.first_micro):
            batch = next(batches)
            for method in methods:
                method.prepare(micro, batch)
            loss, each = micro_step(batch)
            optimization.backward(loss * (size / samples))
            sums.add("loss", each)
        sums.add("gradient norm", optimization.step(update.step - 1))
        for method in methods:
            for name, value in method.after_step().items():
                sums.add(name, value)
        after(update)
        if stopping():
            raise Interrupted
