"""Times the optimizer steps of any PyTorch trainer from outside. `python -m benchmarks.clock OUT.json SCRIPT.py|-m MODULE ARGS...`.

A hook after every optimizer step notes wall and processor time; what was spent in CLIP text encoders since the step before is noted beside
it, so that a trainer that encodes text in each step can be compared with one that does not. The device is waited for at each note.
This file runs under the other trainer's Python too: it needs nothing but torch and transformers.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict


class Gap(TypedDict):
    """From one optimizer step to the next, in seconds; processor time is that of all threads."""

    seconds: float
    cpu_seconds: float
    text_seconds: float
    text_cpu_seconds: float


class Record(TypedDict):
    """What the clock writes."""

    steps: list[Gap]
    peak_vram: int
    peak_rss: int | None


class Clock:
    """Wall and processor seconds up to the last optimizer step, with what of them went into text encoders."""

    def __init__(self) -> None:
        self.steps: list[Gap] = []
        self._text = [0.0, 0.0]  # since the last optimizer step
        self._last: list[float] | None = None

    def after_step(self, *_: object) -> None:
        """An optimizer step is over."""
        now = _now()
        if self._last is not None:
            (wall, cpu), (text, text_cpu) = _since(self._last, now), self._text
            self.steps.append({"seconds": wall, "cpu_seconds": cpu, "text_seconds": text, "text_cpu_seconds": text_cpu})
        self._last, self._text = now, [0.0, 0.0]

    def of_text(self, forward: Callable[..., object]) -> Callable[..., object]:
        """`forward` of a text encoder, timed."""

        @functools.wraps(forward)
        def timed(*args: object, **kwargs: object) -> object:
            begun = _now()
            result = forward(*args, **kwargs)
            self._text = [sum(pair) for pair in zip(self._text, _since(begun, _now()), strict=True)]
            return result

        return timed


def peak_rss() -> int | None:
    """The most memory that this process has held at once, in bytes; None where the system does not tell (it is Linux that does)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text(encoding="ascii", errors="replace").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _now() -> list[float]:
    """Wall and processor time, after the device has done what it was told."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return [time.perf_counter(), time.process_time()]


def _since(begun: list[float], now: list[float]) -> list[float]:
    return [later - earlier for earlier, later in zip(begun, now, strict=True)]


def watch(out: Path) -> None:
    """Install the hooks; the record is written when the trainer ends."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from transformers import CLIPTextModel

    clock = Clock()
    register_optimizer_step_post_hook(clock.after_step)
    CLIPTextModel.forward = clock.of_text(CLIPTextModel.forward)

    def write() -> None:
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        record = Record(steps=clock.steps, peak_vram=peak, peak_rss=peak_rss())
        out.write_text(json.dumps(record), encoding="utf-8")

    atexit.register(write)


def main() -> None:
    """Run the trainer under the clock, as `python` itself would run it."""
    out, *rest = sys.argv[1:]
    watch(Path(out))
    if rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = rest
        sys.path[0] = os.path.dirname(os.path.abspath(rest[0]))
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main()
