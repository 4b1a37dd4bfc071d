"""Trains the micro base models: `python -m recipes.micro_base`. Interrupted at any moment, the same command goes on.

About two hours on two CPU cores. models/micro/README.md is the models' card, with what was measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from engine import models
from engine.errors import UserError
from engine.models.family import Target
from engine.models.specs import VaeSpec
from recipes.micro_base import autoencoder, card, diffusion
from recipes.micro_base.architecture import MODELS

SEED = 1
METADATA = {
    "modelspec.resolution": "64x64",  # what is trained where no resolution is set
    "modelspec.author": "the authors of this project",
    "modelspec.license": "that of this project",
    "modelspec.description": "a tiny model of shapes on plain grounds; see recipes/micro_base",
}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes.micro_base", description=__doc__)
    parser.add_argument("--only", choices=MODELS, help="make this one alone")
    parser.add_argument("--out", type=Path, default=Path("models/micro"), help="folder of the finished models (models/micro)")
    parser.add_argument("--work", type=Path, default=Path("cache/micro_base"), help="folder of the snapshots (cache/micro_base)")
    parser.add_argument("--threads", type=int, choices=range(1, 65), metavar="1..64", help="CPU threads (all)")
    parser.add_argument(
        "--bf16", action="store_true", help="compute in bfloat16; on a CPU that has it the autoencoder gains, the U-Nets lose"
    )
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        for folder in (chosen.out, chosen.work):  # not after hours
            _make_folder(folder)
        for name in [chosen.only] if chosen.only else MODELS:
            make(name, chosen.out, chosen.work, device, chosen.bf16)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(name: str, out: Path, work: Path, device: torch.device, bf16: bool) -> None:
    """Train one model, write it, and measure it."""
    family, specs = MODELS[name]
    spec = specs["vae"]
    assert isinstance(spec, VaeSpec)
    vae = autoencoder.train(spec, SEED, work, device, bf16, say)
    parts = diffusion.train(name, family, specs, vae, SEED, work, device, bf16, say)
    path = out / f"{name}.safetensors"
    models.get(family).save(parts, Target(path, dtype=torch.float16, metadata=METADATA))
    say(f"made {path}, {path.stat().st_size / 1e6:.1f} MB")
    for line in card.measured(path):
        say(line)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be made ({error.strerror})", hint="name another with --out or --work") from error


def say(line: str) -> None:
    """Show a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
