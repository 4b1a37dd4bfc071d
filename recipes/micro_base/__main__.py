"""Make the micro base models, unless they are there already and right: `python -m recipes.micro_base [--out models/micro]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine import files
from engine.errors import UserError

SEED = 1
METADATA = {"modelspec.resolution": "128x128"}  # what is trained where no resolution is set
# SHA-256 of each file's tensor data. The same on every machine; a change of the recipe changes them.
HASHES = {
    "micro-sd": "8577a003b613748562c08b9389f54c9e9696e8680fe77de595e13a8219804f21",
    "micro-sdxl": "42850d0281f6d824c58cb6b0a552307f5400c9676a58706eb31e020f122ac8e3",
}


def path_of(folder: Path, name: str) -> Path:
    """Where a model is kept."""
    return folder / f"{name}.safetensors"


def is_made(path: Path, name: str) -> bool:
    """Whether the file holds what this recipe makes."""
    try:
        if not path.is_file():
            return False
        header = files.read_header(path)
        return METADATA.items() <= header.metadata.items() and files.sha256(path, header.data_start) == HASHES[name]
    except UserError:
        return False


def make(folder: Path, name: str) -> Path:
    """Make one model in a folder and return its path. Raises RuntimeError when it is not what the recipe promises."""
    import torch

    from engine import models
    from recipes.micro_base.architecture import MODELS
    from recipes.micro_base.weights import network

    family, specs = MODELS[name]
    path = path_of(folder, name)
    parts = {part: network(spec, f"{name}.{part}", SEED) for part, spec in specs.items()}
    models.get(family).save(parts, path, "original", torch.float16, metadata=METADATA)
    if not is_made(path, name):
        raise RuntimeError(f"{path} holds other tensors than the recipe's recorded hash says")
    return path


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes.micro_base", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/micro"), help="folder to write to (models/micro)")
    folder: Path = parser.parse_args(arguments).out
    try:
        for name in HASHES:
            path = path_of(folder, name)
            there = is_made(path, name)
            print(f"{path} is there already" if there else f"made {make(folder, name)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
