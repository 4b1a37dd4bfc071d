"""Batches for the training step, drawn and collated on the CPU. They hold everything a step needs. A thread makes them one ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol

import torch
from torch import Tensor

from engine.data.buckets import sdxl_size
from engine.data.cache import LatentCache
from engine.data.items import Scan
from engine.data.order import Planned, Sample, samples


class Drawn(Protocol):
    """What is drawn for one sample besides its picture: timestep (scalar, float32), noise and latent noise [C,h,w]."""

    @property
    def t(self) -> Tensor: ...
    @property
    def noise(self) -> Tensor: ...
    @property
    def latent_noise(self) -> Tensor: ...


Draw = Callable[[int, tuple[int, ...]], Drawn]  # (index of the sample in the run, latent shape [C,h,w])
Condition = Callable[[Sequence[str]], Mapping[str, Tensor]]  # captions -> named tensors [B,...]: TextCache.get, or an encoder
Tokenize = Callable[[Sequence[str]], Tensor]  # captions -> ids [E,B,N]


@dataclass(frozen=True)
class Batch:
    """One micro-batch on the CPU (or wherever `to` put it). Exactly one of `cond` and `ids` is there."""

    plan: Planned
    samples: tuple[Sample, ...]
    mean: Tensor  # [B,C,h,w], unscaled
    std: Tensor  # [B,C,h,w]
    latent_noise: Tensor  # [B,C,h,w]: the latents are mean + std * latent_noise
    noise: Tensor  # [B,C,h,w]
    t: Tensor  # [B] float32
    size: Tensor  # [B,6] int64: original height, width, crop top, left, target height, width
    weight: Tensor  # [B] float32: prior_loss_weight for regularisation pictures, else 1
    cond: dict[str, Tensor] | None = None  # named tensors [B,...] of the family's Cond
    ids: Tensor | None = None  # [E,B,N] int64, where the text encoder runs inside the step
    mask: Tensor | None = None  # [B,1,h,w]

    def __len__(self) -> int:
        return len(self.samples)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed by `change`."""
        return replace(
            self,
            mean=change(self.mean),
            std=change(self.std),
            latent_noise=change(self.latent_noise),
            noise=change(self.noise),
            t=change(self.t),
            size=change(self.size),
            weight=change(self.weight),
            cond=None if self.cond is None else {name: change(tensor) for name, tensor in self.cond.items()},
            ids=None if self.ids is None else change(self.ids),
            mask=None if self.mask is None else change(self.mask),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device; asynchronous where its memory is pinned."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class Collator:
    """Makes a Batch from a planned one: captions and flips drawn, latents and text fetched, noise drawn."""

    scan: Scan
    latents: LatentCache
    draw: Draw
    seed: int
    max_steps: int  # of the run, for a token warm-up given as a fraction
    condition: Condition | None = None
    tokenize: Tokenize | None = None
    prior_loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if (self.condition is None) == (self.tokenize is None):
            raise ValueError("give either `condition` or `tokenize`")

    def __call__(self, planned: Planned) -> Batch:
        """The batch, on the CPU."""
        drawn = samples(self.scan, planned, self.seed, self.max_steps)
        items = [self.scan.items[sample.item] for sample in drawn]
        latents = [self.latents.get(item, sample.flip) for item, sample in zip(items, drawn, strict=True)]
        noises = [self.draw(sample.index, tuple(mean.shape)) for sample, (mean, _) in zip(drawn, latents, strict=True)]
        captions = [sample.caption for sample in drawn]
        sizes = [sdxl_size(item.placement, item.size, flip=sample.flip) for item, sample in zip(items, drawn, strict=True)]
        return Batch(
            plan=planned,
            samples=tuple(drawn),
            mean=torch.stack([mean for mean, _ in latents]),
            std=torch.stack([std for _, std in latents]),
            latent_noise=torch.stack([noise.latent_noise for noise in noises]),
            noise=torch.stack([noise.noise for noise in noises]),
            t=torch.stack([noise.t.to(torch.float32) for noise in noises]),
            size=torch.tensor(sizes, dtype=torch.int64),
            weight=torch.tensor([self.prior_loss_weight if item.is_reg else 1.0 for item in items], dtype=torch.float32),
            cond=dict(self.condition(captions)) if self.condition else None,
            ids=self.tokenize(captions) if self.tokenize else None,
        )


class Reader:
    """Iterates batches while a thread makes the next `ahead` of them; `pin` puts them in page-locked memory for a quick copy to a GPU.

    A context manager: leaving the block ends the thread. An error in the thread is raised where its batch would have come.
    """

    def __init__(self, plan: Iterable[Planned], collate: Callable[[Planned], Batch], *, ahead: int = 1, pin: bool = False) -> None:
        self._plan = iter(plan)
        self._collate = collate
        self._ahead = ahead
        self._pin = pin
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        while True:
            while len(waiting) <= self._ahead and (planned := next(self._plan, None)) is not None:
                waiting.append(self._thread.submit(self._make, planned))
            if not waiting:
                return
            yield waiting.popleft().result()

    def close(self) -> None:
        """End the thread; batches not yet begun are not made."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _make(self, planned: Planned) -> Batch:
        """One batch, in the thread."""
        batch = self._collate(planned)
        return batch.map(Tensor.pin_memory) if self._pin else batch
