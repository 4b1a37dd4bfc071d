"""What is shown and logged of the steps. Figures are read from the device once an interval, and nowhere between."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from engine import allocation
from engine.adapters.base import Diverged
from engine.console import Meter
from engine.errors import UserError
from engine.training.loop import Update
from engine.training.metrics import Mean, Sums
from engine.training.optim import Skips


class Overflow(UserError):
    """The loss scaler left out step after step. What was trained before is sound."""


class Progress:
    """Reads the sums each `every` steps, shows them, and hands them to the log.

    `losses` keeps the mean of every interval, by the step at which it ended; `skipped` counts the steps that were left out. `skips` is
    given where a loss scaler leaves out steps that overflow.
    """

    def __init__(
        self,
        meter: Meter,
        sums: Sums,
        names: Sequence[str],
        *,
        every: int,
        total: int,
        window: int,
        device: torch.device,
        log: Log | None,
        skips: Skips | None,
    ) -> None:
        self.losses: dict[int, float] = {}
        self.skipped = 0
        self._meter = meter
        self._sums = sums
        self._names = list(names)
        self._every = every
        self._total = total
        self._device = device
        self._log = log
        self._skips = skips
        self._recent: deque[Mean] = deque(maxlen=max(1, window // every))
        self._since = time.monotonic()
        self._steps = 0
        self._pace: float | None = None  # seconds a step, smoothed
        self._peak = 0  # bytes of the card that the training has held, before something was done aside

    @property
    def running_loss(self) -> float | None:
        """Mean loss over the last epoch or so."""
        samples = sum(mean.count for mean in self._recent)
        return sum(mean.mean * mean.count for mean in self._recent) / samples if samples else None

    def after(self, update: Update, rates: Sequence[float]) -> None:
        """A step is over.

        Raises Diverged where a loss or a gradient is no number and no loss scaler leaves it out, Overflow where that leaves out too many.
        """
        self._steps += 1
        self._meter.step(update.step, update.epoch)
        stuck = self._skips is not None and self._skips.stuck()
        if stuck or self._steps >= self._every or update.step == self._total:
            self._read(update, rates)
        if stuck and not self.losses:
            raise _never_a_number()
        if stuck:
            raise Overflow(
                f"the last {Skips.LIMIT} steps were left out: their gradients overflow in fp16, also with the smallest loss scale tried",
                "set mixed_precision = bf16 (RTX 30 and newer) or no; where the training went well before, lower the learning rate",
                where="mixed_precision",
            )

    def count_rest(self) -> None:
        """Count the steps left out since the figures were last shown: the run is over."""
        self.skipped += self._sums.read()[1].get("gradient norm", 0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time of this block is no training time."""
        begun = time.monotonic()
        yield
        self._since += time.monotonic() - begun

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Neither the time nor the memory of this block is the training's, and each begins with all memory that the other has left."""
        with self.paused():
            self._peak = max(self._peak, allocation.peak(self._device))
            allocation.new_phase(self._device)
            yield
            allocation.new_phase(self._device)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _read(self, update: Update, rates: Sequence[float]) -> None:
        means, lost = self._sums.read()
        now = time.monotonic()
        pace = (now - self._since) / self._steps
        self._pace = pace if self._pace is None else 0.7 * self._pace + 0.3 * pace
        self._since, self._steps = now, 0
        loss, skipped = means.get("loss"), lost.get("gradient norm", 0)
        if self._skips is None and loss is None and not self.losses:
            raise _never_a_number()
        if self._skips is None and lost:
            raise Diverged(
                f"the training has diverged: loss or gradient is not a number any more (step {update.step})",
                "lower the learning rate",
                where="learning_rate",
            )
        self.skipped += skipped
        if loss is not None:
            self._recent.append(loss)
            self.losses[update.step] = loss.mean
        figures = ["no loss" if self.running_loss is None else f"loss {self.running_loss:.4f}", self._shown(rates)]
        figures.append(f"{1 / self._pace:.2f} it/s" if self._pace < 1 else f"{self._pace:.2f} s/it")
        if self._device.type == "cuda":
            figures.append(f"VRAM {max(self._peak, allocation.peak(self._device)) / 2**30:.1f} GB")
        if skipped:
            figures.append(f"{skipped} skipped")
        self._meter.figures(update.step, update.epoch, self._pace, "  ".join(figures))
        if self._log is not None:
            self._log.write(update.step, self._logged(means, rates))

    def _shown(self, rates: Sequence[float]) -> str:
        """The learning rates, once where all groups have the same."""
        if len(set(rates)) == 1:
            return f"lr {rates[0]:.2e}"
        return "  ".join(f"lr {name} {rate:.2e}" for name, rate in zip(self._names, rates, strict=True))

    def _logged(self, means: Mapping[str, Mean], rates: Sequence[float]) -> dict[str, float]:
        """What goes into the log, by its name there."""
        values = {"loss/current": means["loss"].mean, "loss/average": self.running_loss or 0.0} if "loss" in means else {}
        values.update({name.replace(" ", "_"): mean.mean for name, mean in means.items() if name != "loss"})
        return {**values, **{f"lr/{name}": rate for name, rate in zip(self._names, rates, strict=True)}}


def _never_a_number() -> Diverged:
    return Diverged(
        "the loss was not a number from the first step on: the base model holds values that are not numbers, or overflows",
        "try another base model, or mixed_precision = bf16 (RTX 30 and newer) or no",
        where="pretrained_model_name_or_path",
    )


class Log:
    """TensorBoard's log of a run, its file made with the first values. A disk that refuses ends the log, not the run.

    Written here and not by the library's own writer: that one writes in a thread, which a full disk ends with a traceback on the screen.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None]) -> None:
        self._folder = folder
        self._notice = notice
        self._file: BinaryIO | None = None
        self._given_up = False

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add values at a step."""
        if self._given_up:
            return
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = open(self._folder / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}", "xb")  # noqa: SIM115 closed by close
                _append(self._file, Event(wall_time=time.time(), file_version="brain.Event:2"))
            shown = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
            _append(self._file, Event(wall_time=time.time(), step=step, summary=shown))
        except OSError as error:
            self._given_up = True
            self._notice(f"TensorBoard's log {self._folder} cannot be written ({error.strerror}); the run continues without it")

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # every value was flushed when it was written
                self._file.close()


def _append(file: BinaryIO, event: Event) -> None:
    """Add one record."""
    RecordWriter(file).write(event.SerializeToString())
    file.flush()
