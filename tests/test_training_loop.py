"""The loop: what is told to whom, in which order, and how much each micro-batch counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from training_fakes import FixedMethod

from engine.adapters.base import ParamGroup
from engine.optimization.schedules import find_schedule
from engine.training import loop
from engine.training.loop import Interrupted, Update
from engine.training.metrics import Sums
from engine.training.optim import Optimization, RateRule

UPDATES = [Update(1, 1, (3, 1), 0, False), Update(2, 1, (2,), 2, True), Update(3, 2, (1, 1, 2), 3, True)]


class Seen:
    """A run of one weight w with loss w * batch, so that the gradient of a step is the mean of its samples' batches."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.method, self.sums = FixedMethod(), Sums(torch.device("cpu"))
        self.steps: list[int] = []
        self.moves: list[float] = []
        self.optimizer = torch.optim.SGD([self.weight], lr=1.0)
        rule = RateRule(find_schedule("linear"), total=4, warmup=0, cycles=1, power=1.0)
        groups = [ParamGroup("unet", [self.weight], 1.0)]
        self.optimization = Optimization(self.optimizer, groups, rule, max_grad_norm=0, scaler=None)

    def micro_step(self, batch: float) -> tuple[Tensor, Tensor]:
        loss = self.weight * batch
        return loss, torch.tensor([batch])

    def after(self, update: Update) -> None:
        self.method.told.append(f"after {update.step}")
        self.moves.append(self.weight.item())

    def run(self, batches: list[float], stop_after: int = 99) -> None:
        loop.run(
            UPDATES, iter(batches), self.micro_step, self.optimization, [self.method], self.sums, self.after,
            lambda: len(self.moves) >= stop_after,
        )  # fmt: skip


def test_a_micro_batch_counts_by_its_samples_and_each_step_has_its_own_rate() -> None:
    seen = Seen()
    seen.run([4.0, 8.0, 1.0, 4.0, 8.0, 2.0])
    gradients = [(3 * 4 + 1 * 8) / 4, 1.0, (1 * 4 + 1 * 8 + 2 * 2) / 4]
    moved = [gradients[0] * 1.0, gradients[1] * 0.75, gradients[2] * 0.5]  # the rates of steps 0, 1 and 2 of 4
    assert seen.moves == pytest.approx([-moved[0], -moved[0] - moved[1], -sum(moved)])


def test_a_method_is_told_the_number_of_each_micro_batch() -> None:
    seen = Seen()
    seen.run([1.0] * 6)
    end = "after step"
    told = [entry[0] if isinstance(entry, tuple) else entry for entry in seen.method.told]
    assert told == [0, 1, end, "after 1", 2, end, "after 2", 3, 4, 5, end, "after 3"]


def test_a_method_sees_the_batch_before_its_forward_pass() -> None:
    seen = Seen()
    seen.run([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert [entry[1] for entry in seen.method.told if isinstance(entry, tuple)] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_what_is_summed() -> None:
    seen = Seen()
    seen.run([4.0, 8.0, 1.0, 4.0, 8.0, 2.0])
    means, broken = seen.sums.read()
    told = {name: (mean.count, mean.mean) for name, mean in means.items()}
    assert told == {"loss": (6, 27 / 6), "gradient norm": (3, 10 / 3), "largest norm": (3, 3.0)}
    assert broken == {}


def test_a_stop_comes_after_a_finished_step() -> None:
    seen = Seen()
    with pytest.raises(Interrupted):
        seen.run([1.0] * 6, stop_after=2)
    assert seen.method.told[-1] == "after 2" and len(seen.moves) == 2
