"""How long a run is, and its optimizer steps one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.data.order import Order, Planned
from engine.training.loop import Update


@dataclass(frozen=True)
class Plan:
    """The length of a run in optimizer steps and epochs."""

    order: Order
    total_steps: int
    epochs: int

    def updates(self) -> Iterator[Update]:
        """Every optimizer step of the run, with the micro-batches it gathers."""
        gathered: list[Planned] = []
        micro = 0
        for planned in self.order.batches():
            gathered.append(planned)
            if not planned.closes_step:
                continue
            sizes = tuple(len(batch.items) for batch in gathered)
            yield Update(planned.step + 1, planned.epoch, sizes, micro, planned.closes_epoch)
            if planned.step + 1 >= self.total_steps:
                return
            micro += len(gathered)
            gathered.clear()


def make_plan(order: Order, max_train_steps: int, max_train_epochs: int | None) -> Plan:
    """The plan of a run that is as long as its settings say."""
    return Plan(order, *order.length(max_train_steps, max_train_epochs))
