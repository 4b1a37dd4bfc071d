"""Memory, operations and reads of a full-size run on a card that is not there.

The engine's own load, encode, step, sampling and decode run over SD 1.5 and SDXL in full size. The tensors are torch's FakeTensors on
`cuda`: they have shapes and devices and no values, so a run takes a minute, 1.5 GB and no card. Bytes are those of live storages.

It cannot show cuDNN's workspaces, the context, or what the allocator loses between blocks.

`python -m tests.cuda.fullsize --config configs/sd15_lora_6gb.toml [--phases encode,step,preview] [--capability 8.6] [the engine's flags]`
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.counts import Count
from engine import adapters, models
from engine.config.flags import split
from engine.config.load import load
from engine.config.rows import Rows
from engine.config.schema import Config
from engine.console import Reporter
from engine.data.batches import Batch
from engine.diffusion.samplers import SAMPLERS
from engine.generation.decoding import decode
from engine.generation.generate import Sampled, _guided
from engine.generation.prompt import Shot
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES
from engine.training import assembly, loop
from engine.training import train as training
from engine.training.metrics import Sums
from engine.training.run import Run
from engine.training.train import Ready
from engine.vram.estimate import Load
from engine.vram.exact import of_checkpoint
from engine.vram.load import asked, pictures
from tests.cuda import fake, pretended
from tests.cuda.known import Known
from tests.cuda.live import Live

PHASES = ("encode", "step", "preview")
_GIB = 2**30


@dataclass(frozen=True)
class Size:
    """A batch that is measured: samples, pixels, tokens of a caption."""

    samples: int
    width: int
    height: int
    tokens: int = 77
    flash: bool = True  # whether the card has flash attention for halves
    checkpointing: bool = False  # from here on: it cannot be switched off again

    def __str__(self) -> str:
        kinds = f"{' flash' if self.flash else ''}{' checkpointing' if self.checkpointing else ''}"
        return f"{self.samples} x {self.width} x {self.height}, {self.tokens} tokens{kinds}"


@dataclass(frozen=True)
class Phase:
    """Bytes of one phase."""

    peak: int
    before: int  # live when it begins
    live: int  # when it is over
    parts: Mapping[str, int]  # what was live at the peak, by component
    at: str  # what was allocated at the peak, and the engine's line
    events: Mapping[str, int]  # the most at each event of a backward pass


@dataclass
class Measured:
    """What a run took."""

    family: str
    precision: str
    gradients: int = 0  # bytes
    load: Load | None = None  # what the predictor is told of this run
    phases: dict[str, Phase] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)  # of an update, by name
    reads: dict[str, int] = field(default_factory=dict)  # values that the host waits for in an update
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


class Meter:
    """Notes phases."""

    def __init__(self, live: Live, found: Measured) -> None:
        self.live, self.found = live, found

    @contextmanager
    def phase(self, name: str, tag: str | None = None) -> Iterator[None]:
        """Bytes inside the block; storages made in it belong to the component `tag`."""
        begun = time.monotonic()
        self.live.begin()
        before = self.live.size
        with self.live.tagged(tag or name):
            yield
        peak = self.live.peak
        self.found.phases[name] = Phase(peak.size, before, self.live.size, dict(peak.parts), peak.at, dict(self.live.events))
        self.found.seconds[name] = round(time.monotonic() - begun, 1)


def measure(
    model: str,
    flags: Sequence[str],
    phases: Sequence[str] = PHASES,
    capability: tuple[int, int] = (8, 6),
    gib: float = 24.0,
    sizes: Sequence[Size] = (),
) -> Measured:
    """Run the settings of these flags over `sd15` or `sdxl`. `sizes` are further phases, a forward and a backward pass each."""
    card, known = fake.Card((capability[0], capability[1]), gib), memory()
    pretended.install(pretended.Model(card.capability, gib))
    live = Live(known)
    with tempfile.TemporaryDirectory(prefix="fullsize-") as scratch, fake.stand_ins(card, live), known.mode:
        begun = time.monotonic()
        run = understand(model, flags, Path(scratch))
        found = Measured(run.base.family.name, run.compute.precision)
        found.seconds["understand"] = round(time.monotonic() - begun, 1)
        meter = Meter(live, found)
        with contextlib.nullcontext() if "encode" in phases else fake.encoded_before(run), live:
            loaded = _load(run, meter)
            _Steps(loaded, meter, card).take("step" in phases, sizes)
            if "sample" in phases:
                for side in {size.height: None for size in sizes}:
                    _sample(loaded, meter, side, side, f"sample {side}")
            if "preview" in phases:
                _preview(loaded, meter)
    return found


@functools.cache
def memory() -> Known:
    """One memory for the process: a second run is answered from the first's."""
    pretended.install(pretended.Model((8, 6)))
    return Known(FakeTensorMode(allow_non_fake_inputs=True))


def settings(flags: Sequence[str]) -> Config:
    """The settings of these flags."""
    rows = Rows(adapters.METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, models.FAMILIES)
    return load(split(list(flags)).sources, rows).config


def understand(model: str, flags: Sequence[str], scratch: Path) -> Run:
    """A run of these settings over an empty full-size model and grey pictures."""
    config = settings(flags)
    size = config.data.resolution or {"sd15": (512, 512), "sdxl": (1024, 1024)}[model]
    path = fake.checkpoint(model, scratch)
    data = _pictures(scratch / "pictures", size, max(config.data.train_batch_size, config.data.vae_batch_size, 16))
    own = [
        "--pretrained_model_name_or_path", str(path), "--train_data_dir", str(data), "--cache_dir", str(scratch / "cache"),
        "--max_train_epochs", "0", "--max_train_steps", "4", "--device", "cuda",
        "--cache_latents_to_disk", "false", "--cache_text_encoder_outputs_to_disk", "false",
    ]  # fmt: skip
    return training.understand(settings([*flags, *own]), (), Reporter(Console(file=io.StringIO())))


def _pictures(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Grey pictures with a caption each."""
    concept = folder / "500_sks dog"
    concept.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (number, 128, 128)).save(concept / f"{number}.png")
        (concept / f"{number}.txt").write_text(f"a photo of sks dog, number {number}", encoding="utf-8")
    return folder


def _load(run: Run, meter: Meter) -> Ready:
    """The engine's `load`, parted into what it does: pictures, captions, networks."""
    parts = {"cache_latents": "encode pictures", "prepare_text": "encode captions", "assemble": "load"}
    tags = {"cache_latents": "vae", "prepare_text": "text encoders", "assemble": "networks"}
    with fake.wrapped(training, {name: _in_phase(meter, phase, tags[name]) for name, phase in parts.items()}):
        return training.load(run)


def _in_phase(meter: Meter, phase: str, tag: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **kwargs: object) -> object:
            with meter.phase(phase, tag):
                return function(*args, **kwargs)

        return called

    return wrap


class _Steps:
    """Updates of a loaded run."""

    def __init__(self, loaded: Ready, meter: Meter, card: fake.Card) -> None:
        self._loaded, self._meter, self._live, self._card = loaded, meter, meter.live, card
        self._params = [param for method in loaded.networks.methods for group in method.parameter_groups() for param in group.params]
        self._live.relabel(self._params, "trained")
        self._live.gradients = meter.found.gradients = sum(param.nbytes for param in self._params)
        for param in self._params:
            param.register_post_accumulate_grad_hook(lambda param: self._live.relabel([param.grad], "gradients"))

    def take(self, whole: bool, sizes: Sequence[Size]) -> None:
        """The run's own updates, then a forward and a backward pass at each size."""
        plan = self._loaded.run.plan
        micro = max(len(update.sizes) for update in plan.updates())
        planned = list(itertools.islice(plan.order.batches(), 2 * micro))
        batches = [self._loaded.collate(one) for one in planned]
        if whole:
            self._updates(batches)
        networks = self._loaded.networks
        for size in sizes:
            self._card.capability = (8, 6) if size.flash else (7, 5)
            if size.checkpointing:
                assembly.recompute_activations(networks.unet, networks.encoders)
            with self._meter.phase(str(size), "forward"):
                loss, _ = self._loaded.step(resized(batches[0], size))
                self._live.tag = "backward"
                loss.backward()
                del loss
                for param in self._params:
                    param.grad = None

    def _updates(self, batches: Sequence[Batch]) -> None:
        run, networks = self._loaded.run, self._loaded.networks
        optimization, sums = training.make_optimization(run, networks), Sums(run.compute.device)
        backward, step = optimization.backward, optimization.step

        def tagged(tag: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: object) -> Any:
                with self._live.tagged(tag):
                    return function(*args)

            return called

        optimization.backward, optimization.step = tagged("backward", backward), tagged("optimizer", step)  # type: ignore[method-assign]
        source, updates = iter(batches), run.plan.updates()
        for name in ("first step", "step"):
            with self._meter.phase(name, "forward"), Count() as count:
                loop.run([next(updates)], source, self._loaded.step, optimization, networks.methods, sums, lambda _: None, lambda: False)
        self._meter.found.load = load_of(run)
        self._meter.found.operations.update(count.operations)
        self._meter.found.reads.update(count.reads)


def load_of(run: Run) -> Load:
    """What the predictor is told of a run; a sample picture has the size of the training's."""
    width, height = run.plan.order.scan.datasets[0].buckets.resolution
    model = of_checkpoint(run.base.checkpoint, run.base.vae)
    return asked(run.config, model, run.compute.precision, pictures(run.plan.order.scan, width * height))


def resized(batch: Batch, size: Size) -> Batch:
    """A batch of other samples: only shapes count."""

    def latent(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.new_empty((size.samples, tensor.shape[1], size.height // 8, size.width // 8))

    def text(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.new_empty((size.samples, *((size.tokens,) if tensor.dim() == 3 else ()), tensor.shape[-1]))

    return dataclasses.replace(
        batch.map(lambda tensor: tensor),
        samples=batch.samples[:1] * size.samples,
        mean=latent(batch.mean),
        std=latent(batch.std),
        latent_noise=latent(batch.latent_noise),
        noise=latent(batch.noise),
        t=batch.t.new_empty(size.samples),
        size=batch.size.new_empty((size.samples, 6)),
        weight=batch.weight.new_empty(size.samples),
        cond=None if batch.cond is None else {name: text(tensor) for name, tensor in batch.cond.items()},
        ids=None if batch.ids is None else batch.ids.new_zeros((batch.ids.shape[0], size.samples, size.tokens)),
    )


def _sample(loaded: Ready, meter: Meter, width: int, height: int, name: str = "sample") -> torch.Tensor:
    """A guided prediction, which is what a sampler wants at each of its steps."""
    run, family = loaded.run, loaded.run.base.family
    cond = family.unpack({name: value.expand(2, *value.shape[1:]) for name, value in fake.text(run, 1).items()})
    shot = Shot("a", "", width, height, 0, 2, 7.0, "euler_a", False, 1.0)
    with meter.phase(name, "sampling"), torch.no_grad():
        predict = _guided(Sampled(family, loaded.networks.unet, run.compute.device), shot, cond)
        return predict(torch.empty(1, 4, height // 8, width // 8).to(run.compute.device), torch.tensor(1.0))[0].cpu()


def _preview(loaded: Ready, meter: Meter) -> None:
    """A picture of the run's size: a prediction, then the decoding."""
    run, family = loaded.run, loaded.run.base.family
    latent = _sample(loaded, meter, *run.plan.order.scan.datasets[0].buckets.resolution)
    with meter.phase("decode", "vae"):
        vae = run.base.load("vae", family.vae_dtype(run.compute.dtype, run.config.model.no_half_vae), run.compute.device)
        vae.to = lambda *args, **kwargs: vae  # type: ignore[method-assign] # a FakeTensor in a module cannot be swapped for another
        meter.live.tag = "decoding"
        decode(family, vae, [latent], run.compute.device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; or answer requests, a line of JSON each, until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.cuda.fullsize", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", choices=("sd15", "sdxl"), help="default: what the preset's name says")
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--capability", default="8.6")
    parser.add_argument("--card_gib", type=float, default=24.0)
    parser.add_argument("--serve", action="store_true", help="answer requests on standard input")
    args, flags = parser.parse_known_args(arguments)
    if args.serve:
        return serve()
    major, _, minor = args.capability.partition(".")
    model = args.model or ("sdxl" if any("sdxl" in flag for flag in flags) else "sd15")
    found = measure(model, flags, args.phases.split(","), (int(major), int(minor or 0)), args.card_gib)
    for name, phase in found.phases.items():
        parts = ", ".join(f"{part} {size / _GIB:.2f}" for part, size in sorted(phase.parts.items(), key=lambda row: -row[1]))
        print(f"{name:16} peak {phase.peak / _GIB:6.2f} GiB ({parts}), then {phase.live / _GIB:5.2f}; {phase.at}")
    if found.operations:
        print(f"operations of an update: {sum(found.operations.values()):,}; reads by the host: {found.reads or 'none'}")
    print("seconds:", ", ".join(f"{name} {spent}" for name, spent in found.seconds.items()))
    return 0


def serve() -> int:
    """A request is the arguments of `measure`."""
    answers = sys.stdout
    for line in sys.stdin:
        request = json.loads(line)
        sizes = [Size(**size) for size in request.pop("sizes", ())]
        print(json.dumps(measure(**request, sizes=sizes).as_json()), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
