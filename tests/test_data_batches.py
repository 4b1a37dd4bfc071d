"""Batches: what a step gets, made ahead in a thread, the same from any starting point."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.data.batches import Batch, Collator, Reader
from engine.data.buckets import BucketOptions
from engine.data.cache import LatentCache
from engine.data.captions import CaptionOptions
from engine.data.index import Index
from engine.data.items import Dataset, Scan, Subset, SubsetOptions
from engine.data.order import Order, Planned
from engine.data.scan import scan

Make = Callable[..., list[Path]]


@dataclass(frozen=True)
class Noise:
    t: Tensor
    noise: Tensor
    latent_noise: Tensor


def draw(index: int, shape: tuple[int, ...]) -> Noise:
    generator = torch.Generator().manual_seed(index)
    return Noise(
        torch.randint(0, 1000, (), generator=generator).float(),
        torch.randn(shape, generator=generator),
        torch.randn(shape, generator=generator),
    )


def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
    mean = torch.nn.functional.avg_pool2d(pixels, 8)
    return mean, torch.full_like(mean, 0.5)


def condition(captions: Sequence[str]) -> dict[str, Tensor]:
    return {"hidden": torch.tensor([[float(len(caption))] for caption in captions])}


def tokenize(captions: Sequence[str]) -> Tensor:
    return torch.tensor([[[len(caption), encoder] for caption in captions] for encoder in range(2)])


@pytest.fixture
def found(tmp_path: Path, pictures: Make) -> Scan:
    pictures(tmp_path / "train", [(64, 64), (96, 32), (64, 64), (70, 60)], caption="a, b, c, d")
    pictures(tmp_path / "reg", [(64, 64), (96, 32)], caption="dog")
    options = SubsetOptions(CaptionOptions(shuffle_caption=True, caption_dropout_rate=0.2), flip_aug=True)
    subsets = (Subset(tmp_path / "train", 2, "", False, options), Subset(tmp_path / "reg", 1, "", True, SubsetOptions()))
    with Index(None) as index:
        return scan([Dataset(subsets, BucketOptions((64, 64), minimum=32, maximum=128, step=32), 3)], index)


@pytest.fixture
def latents(found: Scan) -> LatentCache:
    cache = LatentCache(None, "", torch.float32)
    cache.ensure(found.items, encode)
    return cache


def tensors(batch: Batch) -> dict[str, Tensor]:
    named = {name: getattr(batch, name) for name in ("mean", "std", "latent_noise", "noise", "t", "size", "weight", "ids")}
    return {name: tensor for name, tensor in {**named, **(batch.cond or {})}.items() if tensor is not None}


def same(left: Batch, right: Batch) -> bool:
    a, b = tensors(left), tensors(right)
    return (left.plan, left.samples) == (right.plan, right.samples) and a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_batch_holds_what_a_step_needs(found: Scan, latents: LatentCache) -> None:
    collate = Collator(found, latents, draw, 5, 100, condition=condition, prior_loss_weight=0.25)
    for planned in itertools.islice(Order(found, 5).batches(), 6):
        batch = collate(planned)
        count = len(planned.items)
        items = [found.items[place] for place in planned.items]
        assert len(batch) == count and batch.mean.shape == batch.std.shape == batch.noise.shape == batch.latent_noise.shape
        assert batch.t.shape == (count,) and batch.t.dtype == torch.float32
        assert batch.weight.tolist() == [0.25 if item.is_reg else 1.0 for item in items]
        assert batch.size.shape == (count, 6) and batch.size.dtype == torch.int64
        assert batch.size[:, 4:].tolist() == [[item.placement.bucket[1], item.placement.bucket[0]] for item in items]
        assert batch.cond is not None and batch.ids is None and batch.mask is None
        assert batch.cond["hidden"][:, 0].tolist() == [len(sample.caption) for sample in batch.samples]
        for row, sample in enumerate(batch.samples):
            assert sample.index == planned.first + row
            assert torch.equal(batch.mean[row], latents.get(found.items[sample.item], sample.flip)[0])
            assert torch.equal(batch.noise[row], draw(sample.index, tuple(batch.mean.shape[1:])).noise)


def test_live_text_carries_ids(found: Scan, latents: LatentCache) -> None:
    batch = Collator(found, latents, draw, 5, 100, tokenize=tokenize)(Planned(1, 0, 0, (0, 2), True, False))
    assert batch.cond is None and batch.ids is not None and batch.ids.shape == (2, 2, 2)
    with pytest.raises(ValueError, match="either"):
        Collator(found, latents, draw, 5, 100)


def test_starting_at_any_batch_gives_the_same_tail(found: Scan, latents: LatentCache) -> None:
    order = Order(found, 5, accumulation=2)
    collate = Collator(found, latents, draw, 5, 100, condition=condition)
    with Reader(order.batches(), collate) as reader:
        whole = list(itertools.islice(reader, 20))
    for place in (1, 6, 13):
        with Reader(order.batches(whole[place].plan.first), collate) as reader:
            tail = list(itertools.islice(reader, 20 - place))
        assert all(same(left, right) for left, right in zip(tail, whole[place:], strict=True))


def test_to_moves_every_tensor(found: Scan, latents: LatentCache) -> None:
    batch = Collator(found, latents, draw, 5, 100, condition=condition)(Planned(1, 0, 0, (0,), True, False)).to("meta")
    assert {tensor.device.type for tensor in tensors(batch).values()} == {"meta"}


def plans(count: int) -> list[Planned]:
    return [Planned(1, number, number, (0,), True, False) for number in range(count)]


def test_the_next_batch_is_made_meanwhile(found: Scan, latents: LatentCache) -> None:
    made: list[int] = []
    collate = Collator(found, latents, draw, 5, 100, condition=condition)

    def slow(planned: Planned) -> Batch:
        made.append(planned.step)
        return collate(planned)

    with Reader(plans(9), slow, ahead=2) as reader:
        batches = iter(reader)
        assert next(batches).plan.step == 0
        deadline = time.monotonic() + 10
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)
        assert made == [0, 1, 2]
        assert [batch.plan.step for batch in batches] == list(range(1, 9))


def test_an_error_in_the_thread_reaches_the_reader(found: Scan, latents: LatentCache) -> None:
    collate = Collator(found, latents, draw, 5, 100, condition=condition)

    def broken(planned: Planned) -> Batch:
        if planned.step == 2:
            raise RuntimeError("no such latents")
        return collate(planned)

    seen = []
    with pytest.raises(RuntimeError, match="no such latents"), Reader(plans(9), broken) as reader:
        seen.extend(batch.plan.step for batch in reader)
    assert seen == [0, 1]


def test_leaving_early_ends_the_thread(found: Scan, latents: LatentCache) -> None:
    collate = Collator(found, latents, draw, 5, 100, condition=condition)
    before = threading.active_count()
    with Reader(Order(found, 5).batches(), collate) as reader:
        next(iter(reader))
    assert threading.active_count() == before
