"""The parts of `gpu_check.sh`, each with a time limit.

A line of JSON a part is appended to a file. `--pretend` runs all of them on a pretended card, with the small built-in models.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET = 480.0  # seconds for all parts
OLDEST_TORCH = (2, 11)
_KEPT = 6000  # characters of a part's output
_CACHING = ("--pictures", "64", "--captions", "512", "--vae_batch_size", "8")
_SMALL = ("--resolution", "64", "--min_bucket_reso", "64", "--dim", "4", "--steps", "3", "--pictures", "3", "--captions", "16")


@dataclass(frozen=True)
class Part:
    """One command, `python -m ARGUMENTS`, and its seconds at most."""

    name: str
    arguments: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Done:
    """What became of a part. `result` is what it printed, where that is JSON."""

    part: str
    command: str
    status: str  # "ok", "failed" or "stopped" at its time limit
    seconds: float
    result: object
    output: str  # its end


def parts(pretend: bool) -> tuple[Part, ...]:
    """All parts, in their order: the cheap ones first."""
    size = _SMALL if pretend else ()
    some = ("-k", "sd-fp32 or profiler or optimizer or memory") if pretend else ()  # the other cases: `pytest -m card tests/cuda`
    caching = () if pretend else _CACHING
    steps = [
        Part(f"step {model} b{batch}", ("benchmarks.step", model, "--batch", str(batch), *size, *more), seconds)
        for model, batch, more, seconds in (
            ("sd15", 1, caching, 75.0),
            ("sd15", 4, (), 45.0),
            ("sd15", 8, (), 45.0),
            ("sdxl", 1, caching, 120.0),
            ("sdxl", 4, (), 60.0),
        )
    ]
    return (
        Part("versions", ("benchmarks.gpu_check", "--versions"), 60.0),
        Part("proof", ("benchmarks.gpu_check", "--proof"), 60.0),
        *steps,
        Part("tests", ("pytest", "-m", "gpu", "-q", "-rA", "-p", "no:cacheprovider", *some, "tests/gpu"), 200.0),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, or one of the two that this file has itself. 1 where a part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("gpu_check.jsonl"), help="the file of results; lines are appended")
    parser.add_argument("--pretend", action="store_true", help="a pretended card, and small sizes")
    parser.add_argument("--only", action="append", metavar="PART", help="this part; may be given several times")
    parser.add_argument("--seconds", type=float, help=f"for all parts together; default: {BUDGET:g}, no limit with --pretend")
    parser.add_argument("--versions", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--proof", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.versions:
        return versions()
    if args.proof:
        return prove()
    budget = args.seconds or (float("inf") if args.pretend else BUDGET)
    chosen = [part for part in parts(args.pretend) if not args.only or part.name in args.only]
    with tempfile.TemporaryDirectory(prefix="gpu_check-") as scratch:
        return run(chosen, args.out, Path(scratch), budget=budget, pretend=args.pretend)


def run(chosen: Sequence[Part], out: Path, scratch: Path, *, budget: float, pretend: bool) -> int:
    """Run parts until the time is over. Each is told on the screen and in the file when it is done."""
    ends = time.monotonic() + budget
    environment = {**os.environ, "TMPDIR": str(scratch)}
    if pretend:
        _small_models(scratch / "engine-benchmarks")
    failed = False
    for part in chosen:
        left = ends - time.monotonic()
        limit = left if pretend else min(part.seconds, left)
        done = _run(part, limit, environment, pretend) if left > 0 else Done(part.name, "", "stopped", 0.0, None, "no time was left")
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")
        print(f"{done.part}: {done.status}, {done.seconds:.0f} s", flush=True)
        failed |= done.status != "ok"
        if part.name == "versions" and done.status != "ok":
            print(done.output)
            break  # nothing else can run
    print(f"results: {out.resolve()}")
    return int(failed)


def _run(part: Part, limit: float, environment: dict[str, str], pretend: bool) -> Done:
    """Run a part in a process group of its own, which ends with it."""
    start = ["-m", "tests.cuda.pretend"] if pretend else ["-m"]
    command = [sys.executable, "-s", "-X", "utf8", *start, *part.arguments]
    begun = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", errors="replace", start_new_session=True,
    ) as child:  # fmt: skip
        try:
            out, err = child.communicate(timeout=None if limit == float("inf") else limit)
            status = "failed" if child.returncode else "ok"
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            status = "stopped"
    try:
        result = json.loads(out)
    except ValueError:
        result = None
    told = "\n".join(text[-_KEPT:] for text in (err, "" if result is not None else out) if text)
    return Done(part.name, " ".join(["python", *command[4:]]), status, time.monotonic() - begun, result, told)


def _small_models(folder: Path) -> None:
    """The built-in models, in the places of the full-size random ones."""
    folder.mkdir(parents=True)
    for model, file in (("sd15", "micro-sd"), ("sdxl", "micro-sdxl")):
        (folder / f"random-{model}.safetensors").symlink_to(ROOT / f"models/micro/{file}.safetensors")


def versions() -> int:
    """Print the machine, and every pin with what is there instead. 1 where something cannot be imported that every run needs."""
    from engine.doctor import pins
    from engine.training.proof import PACKAGES

    needed = (*PACKAGES, "pytest", "lion_pytorch", "prodigyopt")
    broken = {name: error for name in needed if (error := _import_error(name))}
    wanted = pins(ROOT / "requirements.txt")
    here = {name: _version(name) for name in wanted}
    other = {name: f"{here[name] or 'missing'} (pinned: {version})" for name, version in wanted.items() if here[name] != version}
    told: dict[str, object] = {"cannot be used": broken, "not as pinned": other}
    if "torch" not in broken:
        import torch

        from benchmarks.machine import describe

        card = torch.cuda.is_available()
        told |= {**describe(), "cuda": torch.version.cuda, "capability": torch.cuda.get_device_capability() if card else None}
        if not card:
            broken["torch"] = "sees no NVIDIA card"
        if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
            broken["torch"] = f"{torch.__version__} is older than {'.'.join(map(str, OLDEST_TORCH))}"
    print(json.dumps(told))
    return int(bool(broken))


def _import_error(name: str) -> str:
    """What keeps a package from being imported."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        return str(error)
    return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def prove() -> int:
    """The proof of `doctor --run`, also where packages are not as pinned."""
    from engine.commands import command
    from engine.training import proof

    proof.imports(print)
    with proof.temporary(ROOT) as folder:
        print(proof.prove(command.settings(proof.settings(ROOT, folder)).config, print))
    return 0


if __name__ == "__main__":
    sys.exit(main())
