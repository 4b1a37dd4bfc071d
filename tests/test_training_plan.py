"""The optimizer steps of a run one by one: which micro-batches each gathers, their numbers over the whole run, where epochs end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from training_fakes import FixedOrder

from engine.training.loop import Update
from engine.training.plan import make_plan

# batches an epoch, accumulation, steps -> (step, epoch, sizes, first micro-batch, ends its epoch)
UPDATES = {
    "one batch a step": (
        ((2, 2, 1),), 1, 5,
        [(1, 1, (2,), 0, False), (2, 1, (2,), 1, False), (3, 1, (1,), 2, True), (4, 2, (2,), 3, False), (5, 2, (2,), 4, False)],
    ),
    "two, and the rest of an epoch is a step": (
        ((2, 2, 1),), 2, 4, [(1, 1, (2, 2), 0, False), (2, 1, (1,), 2, True), (3, 2, (2, 2), 3, False), (4, 2, (1,), 5, True)],
    ),
    "three, which is an epoch": (
        ((2, 2, 1),), 3, 3, [(1, 1, (2, 2, 1), 0, True), (2, 2, (2, 2, 1), 3, True), (3, 3, (2, 2, 1), 6, True)],
    ),
    "more than an epoch has": (((3, 1),), 5, 2, [(1, 1, (3, 1), 0, True), (2, 2, (3, 1), 2, True)]),
    "three of five": (((1,) * 5,), 3, 3, [(1, 1, (1, 1, 1), 0, False), (2, 1, (1, 1), 3, True), (3, 2, (1, 1, 1), 5, False)]),
    "epochs of different lengths": (
        ((4, 4), (4, 4, 2), (4,)), 2, 4,
        [(1, 1, (4, 4), 0, True), (2, 2, (4, 4), 2, False), (3, 2, (2,), 4, True), (4, 3, (4,), 5, True)],
    ),
    "a single step": (((1, 1),), 1, 1, [(1, 1, (1,), 0, False)]),
}  # fmt: skip


@pytest.mark.parametrize(("epochs", "accumulation", "steps", "expected"), UPDATES.values(), ids=UPDATES.keys())
def test_the_updates_of_a_run(
    epochs: tuple[tuple[int, ...], ...], accumulation: int, steps: int, expected: list[tuple[int, int, tuple[int, ...], int, bool]]
) -> None:
    plan = make_plan(FixedOrder(epochs, accumulation), steps, None)
    assert list(plan.updates()) == [Update(*row) for row in expected]


@pytest.mark.parametrize("accumulation", [1, 2, 3, 4, 7])
def test_micro_batches_are_numbered_without_gaps(accumulation: int) -> None:
    """Dropout is reseeded with the number, so no number may come twice."""
    updates = list(make_plan(FixedOrder(((1, 1, 1, 1, 1), (1, 1)), accumulation), 1, 20).updates())
    assert updates[0].first_micro == 0 and sum(len(update.sizes) for update in updates) == 5 + 19 * 2
    assert all(later.first_micro == earlier.first_micro + len(earlier.sizes) for earlier, later in pairwise(updates))
    assert [update.step for update in updates] == list(range(1, len(updates) + 1))


# accumulation, max_train_steps, max_train_epochs -> steps, epochs; an epoch has 3 batches
LENGTHS = [
    (1, 7, None, 7, 3),
    (1, 6, None, 6, 2),
    (1, 1, None, 1, 1),
    (2, 7, None, 7, 4),
    (1, 7, 0, 7, 3),
    (1, 1600, 2, 6, 2),
    (2, 1, 5, 10, 5),
    (3, 1600, 4, 4, 4),
]


@pytest.mark.parametrize(("accumulation", "steps", "epochs", "total", "last"), LENGTHS)
def test_how_long_a_run_is(accumulation: int, steps: int, epochs: int | None, total: int, last: int) -> None:
    """Epochs win over steps."""
    plan = make_plan(FixedOrder(((2, 2, 1),), accumulation), steps, epochs)
    assert (plan.total_steps, plan.epochs) == (total, last)
    updates = list(plan.updates())
    assert (updates[-1].step, updates[-1].epoch) == (total, last)


def test_epochs_of_different_lengths_are_counted_one_by_one() -> None:
    order = FixedOrder(((2, 2), (2, 2, 2), (1,)))
    assert make_plan(order, 1, 3).total_steps == 6
    assert [make_plan(order, steps, None).epochs for steps in range(1, 9)] == [1, 1, 2, 2, 2, 3, 4, 5]
