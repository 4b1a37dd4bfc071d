"""The order of a run: kohya's counts, buckets and partial batches; the same samples whatever the start, the batches or the processes."""

from __future__ import annotations

import doctest
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.data import order
from engine.data.buckets import BucketOptions, Placement, Size
from engine.data.captions import CaptionOptions
from engine.data.items import Dataset, Item, Scan, Subset, SubsetOptions
from engine.data.order import Order, Planned, epoch_order, regularisation_counts, run_captions, samples, uses

Spec = tuple[Size, int, bool, int]  # bucket, repeats, is_reg, data set


def make_scan(specs: Sequence[Spec], batch_sizes: Sequence[int] = (2,), captions: CaptionOptions | None = None) -> Scan:
    options = SubsetOptions(captions or CaptionOptions(), flip_aug=True)
    subset = Subset(Path("1_x"), options=options)
    items = [
        Item(
            Path(f"{number}.png"), f"tag{number}, a, b, c", "file", dataset, dataset, repeats, is_reg, bucket, f"{number:064}",
            Placement(bucket, bucket, (0, 0)), True, "",
        )
        for number, (bucket, repeats, is_reg, dataset) in enumerate(specs)
    ]  # fmt: skip
    datasets = tuple(Dataset((subset,), BucketOptions((64, 64)), size) for size in batch_sizes)
    return Scan(datasets, tuple(subset for _ in datasets), tuple(items))


def plain(count: int, repeats: int = 1, bucket: Size = (64, 64), dataset: int = 0) -> list[Spec]:
    return [(bucket, repeats, False, dataset)] * count


MIXED = [*plain(5, 3), *plain(4, 2, (96, 32)), *[((64, 64), 1, True, 0)] * 30, *plain(3, 1, (128, 128), 1)]


def test_doctests() -> None:
    assert doctest.testmod(order).failed == 0


def kohya_counts(repeats: Sequence[int], wanted: int) -> list[int]:
    """sd-scripts' walk over the pictures, written without looking at ours."""
    counts, total, first = [0] * len(repeats), 0, True
    while total < wanted:
        for place, own in enumerate(repeats):
            step = own if first else 1
            counts[place] += step
            total += step
            if total >= wanted:
                break
        first = False
    return counts


def test_regularisation_counts_are_kohyas_in_the_first_epoch_and_in_sum_always() -> None:
    rng = random.Random(5)
    for _ in range(300):
        repeats = [rng.randint(1, 5) for _ in range(rng.randint(1, 12))]
        wanted = rng.randint(1, 60)
        expected = kohya_counts(repeats, wanted)
        assert regularisation_counts(repeats, wanted) == expected
        totals = Counter[int]()
        for epoch in range(1, 61):
            counts = regularisation_counts(repeats, wanted, epoch)
            assert sum(counts) == sum(expected)
            totals.update(dict(enumerate(counts)))
        assert min(totals.values()) > 0, "every picture gets its turn"


def test_uses_balance_each_data_set_by_itself() -> None:
    scan = make_scan(
        [*plain(4, 2), ((64, 64), 1, True, 0), *plain(3, 1, dataset=1), ((64, 64), 1, True, 1), ((64, 64), 1, True, 1)], (1, 1)
    )
    assert uses(scan.items, 1) == [2, 2, 2, 2, 8, 1, 1, 1, 2, 1]


def test_batches_keep_to_one_bucket_and_keep_what_is_left() -> None:
    scan = make_scan(MIXED, (4, 2))
    for epoch in (1, 2, 9):
        batches = epoch_order(scan.items, scan.batch_sizes, 7, epoch)
        assert Counter(itertools.chain(*batches)) == Counter({place: count for place, count in enumerate(uses(scan.items, epoch)) if count})
        per_bucket: dict[tuple[int, Size], list[int]] = {}
        for batch in batches:
            keys = {(scan.items[place].dataset, scan.items[place].placement.bucket) for place in batch}
            assert len(keys) == 1
            per_bucket.setdefault(keys.pop(), []).append(len(batch))
        assert sorted(per_bucket[0, (64, 64)]) == [2] + [4] * 9  # 15 training samples and 23 regularisation samples
        assert sorted(per_bucket[0, (96, 32)]) == [4, 4]
        assert sorted(per_bucket[1, (128, 128)]) == [1, 2]


def test_order_depends_on_seed_and_epoch_only() -> None:
    scan = make_scan(plain(20))
    first = epoch_order(scan.items, (2,), 1, 1)
    assert first == epoch_order(scan.items, (2,), 1, 1)
    assert first != epoch_order(scan.items, (2,), 1, 2) and first != epoch_order(scan.items, (2,), 2, 1)


def test_the_order_is_the_same_on_every_machine() -> None:
    scan = make_scan(plain(6))
    assert epoch_order(scan.items, (2,), 42, 1) == [[0, 3], [4, 5], [2, 1]]
    assert [round(order.generator(42, "flip", index).random(), 6) for index in range(3)] == [0.651562, 0.47259, 0.079153]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_starting_in_the_middle_gives_the_tail(accumulation: int) -> None:
    run = Order(make_scan(MIXED, (4, 2)), 3, accumulation=accumulation)
    whole = list(itertools.islice(run.batches(), 90))
    for place in (1, 7, 19, 33, 60):
        tail = list(itertools.islice(run.batches(whole[place].first), 90 - place))
        assert tail == whole[place:]
    for step in (0, 1, run.steps_in(1) - 1, run.steps_in(1), run.steps(2) + 1):
        start = next(run.batches(run.sample_at(step)))
        assert start.step == step and start == next(batch for batch in whole if batch.step == step)


@pytest.mark.parametrize("accumulation", [1, 2, 5])
def test_steps_follow_kohyas_rule(accumulation: int) -> None:
    run = Order(make_scan(plain(7), (2,)), 0, accumulation=accumulation)  # 4 batches an epoch
    steps = -(-4 // accumulation)
    assert run.steps_in(1) == steps and run.steps(5) == 5 * steps
    whole = list(itertools.islice(run.batches(), 12))
    assert [batch.epoch for batch in whole] == [1] * 4 + [2] * 4 + [3] * 4
    assert sum(batch.closes_step for batch in whole) == 3 * steps
    assert [batch.closes_epoch for batch in whole] == [False, False, False, True] * 3
    assert [batch.step for batch in whole] == [epoch * steps + turn // accumulation for epoch in range(3) for turn in range(4)]
    assert [batch.first for batch in whole] == [sum(len(earlier.items) for earlier in whole[:place]) for place in range(12)]
    assert run.epochs(1) == 1 and run.epochs(steps) == 1 and run.epochs(steps + 1) == 2


def test_processes_share_the_batches() -> None:
    scan = make_scan(plain(9), (2,))  # 5 batches
    alone = list(itertools.islice(Order(scan, 1).batches(), 5))
    shared = Order(scan, 1, world=2)
    ranks = [list(itertools.islice(shared.batches(rank=rank), 3)) for rank in (0, 1)]
    assert [batch.items for batch in (ranks[0][0], ranks[1][0], ranks[0][1], ranks[1][1], ranks[0][2])] == [b.items for b in alone]
    assert ranks[1][2].items == alone[0].items, "the last process gets the epoch's first batch again"
    assert [batch.step for batch in ranks[0]] == [batch.step for batch in ranks[1]] == [0, 1, 2]
    assert shared.steps_in(1) == 3
    assert all(batch.closes_epoch is (place == 2) for batches in ranks for place, batch in enumerate(batches))
    indices = [index for batches in ranks for batch in batches for index in range(batch.first, batch.first + len(batch.items))]
    assert len(indices) == len(set(indices))


def test_draws_belong_to_the_sample() -> None:
    scan = make_scan(plain(8), captions=CaptionOptions(shuffle_caption=True, caption_dropout_rate=0.2))
    one = Planned(1, 0, 40, (3, 4, 5), True, False)
    split = [Planned(1, 0, 40, (3,), False, False), Planned(1, 0, 41, (4, 5), True, False)]
    together = samples(scan, one, 9, 100)
    assert together == [sample for part in split for sample in samples(scan, part, 9, 100)]
    assert [sample.index for sample in together] == [40, 41, 42]
    flips = [samples(scan, Planned(1, 0, index, (0,), True, False), 9, 100)[0].flip for index in range(200)]
    assert 70 < sum(flips) < 130


def test_run_captions_are_exactly_what_the_run_sees() -> None:
    scan = make_scan(plain(6, 2), captions=CaptionOptions(shuffle_caption=True, caption_dropout_every_n_epochs=2, token_warmup_step=0.5))
    run = Order(scan, 11)
    seen = dict.fromkeys(
        sample.caption
        for planned in itertools.takewhile(lambda planned: planned.step < 20, run.batches())
        for sample in samples(scan, planned, 11, 20)
    )
    found = run_captions(run, 20)
    assert found.captions == tuple(seen) and found.complete and found.varying == 6 and "" in seen
    late = run_captions(run, 20, sample=run.sample_at(15))
    assert set(late.captions) < set(seen)
    capped = run_captions(run, 20, limit=5)
    assert not capped.complete and len(capped.captions) >= 5


def test_run_captions_that_do_not_vary_are_not_drawn() -> None:
    scan = make_scan([*plain(3), *plain(2)], captions=CaptionOptions(caption_prefix="p"))
    found = run_captions(Order(scan, 1), 10**12)
    assert found.captions == tuple(f"p tag{number}, a, b, c" for number in range(5))
    assert (found.varying, found.complete) == (0, True)


def test_run_captions_cover_all_processes() -> None:
    scan = make_scan(plain(5), captions=CaptionOptions(shuffle_caption=True))
    run = Order(scan, 2, world=3)
    seen = {
        sample.caption
        for rank in range(3)
        for planned in itertools.takewhile(lambda planned: planned.step < 4, run.batches(rank=rank))
        for sample in samples(scan, planned, 2, 4)
    }
    assert set(run_captions(run, 4).captions) == seen


def test_no_pictures_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        Order(make_scan([]), 1).steps_in(1)
