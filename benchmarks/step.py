"""Loading, caching and a step of a random full-size model. `python -m benchmarks.step sd15|sdxl [--batch 4] [...]`.

Everything runs through the engine's own code. What this command does not know itself goes to the engine as a setting, for instance
`--gradient_checkpointing` or `--network_args conv_dim=8`. Prints one JSON object with commit and machine.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import models, pictures
from benchmarks.counts import counted
from benchmarks.machine import describe, forget_peaks, peaks
from engine import adapters
from engine.config.flags import split
from engine.config.load import load
from engine.config.rows import Rows
from engine.config.schema import Config
from engine.console import Counter, Reporter
from engine.data.batches import Batch
from engine.diffusion.samplers import SAMPLERS
from engine.models import FAMILIES
from engine.models.recognise import recognise
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES
from engine.training import loop
from engine.training import train as training
from engine.training.encoding import TextEncoder, cache_latents
from engine.training.loop import Update
from engine.training.metrics import Sums
from engine.training.optim import Optimization
from engine.training.run import Run
from engine.training.train import Ready
from engine.vram.exact import exact, model_of

_CAPTIONS_AT_ONCE = 16  # as the engine encodes them


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", choices=sorted(models.SPECS))
    parser.add_argument("--resolution", type=int, help="default: 512 for sd15, 1024 for sdxl")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps; the first third is left out")
    parser.add_argument("--pictures", type=int, default=8, help="pictures to encode; the first batch is left out")
    parser.add_argument("--captions", type=int, default=64, help=f"captions to encode, after {_CAPTIONS_AT_ONCE} that are left out")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), help="default: the best of the device")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: the best there is")
    parser.add_argument("--train_text", action="store_true", help="train the text encoders too")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "engine-benchmarks", help="keeps the models")
    args, settings = parser.parse_known_args(arguments)
    if args.steps < 2:
        parser.error("--steps: two at least, for there is no spread in one")
    args.resolution = args.resolution or {"sd15": 512, "sdxl": 1024}[args.model]
    args.folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(args, settings), indent=1))


def measure(args: argparse.Namespace, settings: Sequence[str]) -> dict[str, object]:
    """All measurements of one model, in the order in which a run does these things."""
    model = models.make(args.model, args.folder)
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        data = pictures.make(Path(scratch) / "pictures", args.resolution, args.pictures)
        config = _config(args, settings, model, data, Path(scratch) / "cache")
        told = _Timeline()
        run = training.understand(config, (), told)
        result: dict[str, object] = {"loading_seconds": _loading(run)}
        forget_peaks()
        encoding = {"captions_per_second": _captions(run, args.captions)}
        # apart from `load`, in which each phase has its own peak
        cache_latents(run.config, run.base, run.compute, run.plan.order.scan, told)
        result["exact"] = _exact(run)
        result["caching"] = {"pictures_per_second": told.rate("pictures encoded"), **encoding, **peaks()}
        result.update(_steps(training.load(run)))
    asked = {name: value for name, value in vars(args).items() if name != "folder"}
    compute = {"device": run.compute.name, "precision": run.compute.precision}
    return {"benchmark": "step", **asked, **compute, "settings": list(settings), **result, **describe()}


def _config(args: argparse.Namespace, settings: Sequence[str], model: Path, data: Path, cache: Path) -> Config:
    """The settings of the run."""
    flags = [
        "--pretrained_model_name_or_path", str(model), "--train_data_dir", str(data), "--cache_dir", str(cache),
        "--resolution", str(args.resolution), "--train_batch_size", str(args.batch), "--max_train_steps", str(args.steps + 1),
        "--network_dim", str(args.dim), "--network_alpha", str(args.dim / 2),
        *([] if args.train_text else ["--network_train_unet_only"]),
        *(["--mixed_precision", args.precision] if args.precision else []),
        *(["--device", args.device] if args.device else []),
    ]  # fmt: skip
    rows = Rows(adapters.METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)
    return load(split([*flags, *settings]).sources, rows).config


class _Timeline(Reporter):
    """Says nothing, and notes when each of the things that are counted was ready."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))
        self._counters: dict[str, _Noted] = {}

    @contextmanager
    def counting(self, title: str, total: int, unit: str) -> Iterator[Counter]:
        """Note the times at which more are ready."""
        self._counters[title] = counter = _Noted(self, title, total, unit)
        yield counter

    def rate(self, title: str) -> float | None:
        """How many a second, without the first batch, in whose time the network was loaded. None where there was no second batch."""
        times = self._counters[title].times
        if len(times) < 3:
            return None
        (first, done), (last, total) = times[1], times[-1]
        return (total - done) / (last - first)


class _Noted(Counter):
    def __init__(self, reporter: Reporter, title: str, total: int, unit: str) -> None:
        super().__init__(reporter, title, total, unit)
        self.times: list[tuple[float, int]] = []

    def at(self, done: int, total: int) -> None:
        """So many are ready now; what is ready has been copied from the device."""
        self.times.append((time.perf_counter(), done))


def _timed(code: Callable[[], object]) -> float:
    """Seconds until the device has done what `code` asks."""
    begun = time.perf_counter()
    code()
    _wait()
    return time.perf_counter() - begun


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _loading(run: Run) -> dict[str, float]:
    """Seconds to recognise the file, and to load each part onto the device as a run does."""
    base, compute = run.base, run.compute
    seconds = {"recognise": _timed(lambda: recognise(base.path))}
    for part in base.family.parts:
        dtype = base.family.vae_dtype(compute.dtype) if part == "vae" else compute.dtype
        seconds[part] = _timed(lambda part=part, dtype=dtype: base.load(part, dtype, compute.device))  # type: ignore[misc]
    return seconds


def _exact(run: Run) -> dict[str, dict[str, int]]:
    """What the settings fix to the byte, by component; not all of it is in memory at one time."""
    found = exact(run.config, model_of(run.config), run.compute.precision)
    named = {
        **found.networks,
        "vae encoder": found.vae_encoder,
        "vae decoder": found.vae_decoder,
        **{f"trained {part}": memory for part, memory in found.trained.items()},
        "gradients": found.gradients,
        "optimizer": found.optimizer,
    }
    return {name: {"tensors": it.tensors, "bytes": it.bytes, "allocated": it.allocated} for name, it in named.items()}


def _captions(run: Run, count: int) -> float:
    """Captions a second through all text encoders."""
    encoder = TextEncoder(run.config, run.base, run.compute)
    captions = [f"a photo of sks dog, number {number}" for number in range(_CAPTIONS_AT_ONCE)]
    encoder(captions)
    batches = -(-count // _CAPTIONS_AT_ONCE)
    return batches * _CAPTIONS_AT_ONCE / _timed(lambda: [encoder(captions) for _ in range(batches)])


def _steps(loaded: Ready) -> dict[str, object]:
    """Seconds and memory of the steps after the first third; then what one more step asks of the device."""
    run, updates = loaded.run, list(loaded.run.plan.updates())
    left_out = (len(updates) - 1) // 3
    optimization, sums, moments = training.make_optimization(run, loaded.networks), Sums(run.compute.device), _Moments(run.compute.device)
    with training.batches(loaded) as batches:

        def train(chosen: Sequence[Update]) -> None:
            after: Callable[[Update], None] = lambda _: moments.note()  # noqa: E731
            loop.run(chosen, batches, loaded.step, optimization, loaded.networks.methods, sums, after, lambda: False)

        train(updates[:left_out])
        _wait()
        forget_peaks()
        moments.forget()
        moments.note()
        seconds = _timed(lambda: train(updates[left_out:-1]))
        memory, each = peaks(), moments.gaps()
        low, middle, high = statistics.quantiles(each, n=4, method="inclusive")
        timed = {"median": middle, "lower_quartile": low, "upper_quartile": high, "mean": seconds / len(each), "steps": len(each)}
        return {"step_seconds": timed, "step_memory": memory, **_counts(loaded, optimization, sums, updates[-1], next(batches))}


class _Moments:
    """Moments in the device's work; on a GPU they are events in its queue, and nothing waits for them before `gaps`."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []

    def note(self) -> None:
        """Now."""
        if self._gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._events.append(event)
        else:
            self._times.append(time.perf_counter())

    def forget(self) -> None:
        """Begin anew."""
        self._events.clear()
        self._times.clear()

    def gaps(self) -> list[float]:
        """Seconds from each moment to the next."""
        if self._gpu:
            return [earlier.elapsed_time(later) / 1000 for earlier, later in pairwise(self._events)]
        return [later - earlier for earlier, later in pairwise(self._times)]


def _counts(loaded: Ready, optimization: Optimization, sums: Sums, update: Update, batch: Batch) -> dict[str, object]:
    """Operations and reads of one micro-batch and one optimizer step, as `loop.run` runs them."""
    methods, results = loaded.networks.methods, []
    for method in methods:
        method.prepare(update.first_micro, batch)
    forward = counted(lambda: results.append(loaded.step(batch)))
    loss, each = results[0]
    backward = counted(lambda: optimization.backward(loss))

    def step() -> None:
        sums.add("loss", each)
        sums.add("gradient norm", optimization.step(update.step - 1))
        for method in methods:
            method.after_step()

    phases = {"forward": forward, "backward": backward, "optimizer": counted(step)}
    return {
        "operations": {name: count.operations.total() for name, count in phases.items()},
        "reads": {name: count.reads.total() for name, count in phases.items()},
    }


if __name__ == "__main__":
    main()
