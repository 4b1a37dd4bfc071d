"""`inspect`: what a model or LoRA file is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.command import Command, say
from engine.config.field import setting

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `inspect` takes."""

    file: tuple[str, ...] = setting((), "models and LoRA files; a diffusers folder too", kind="path", behind="FILE")


def run(options: Options, loaded: Loaded) -> int:
    """Tell of one file after the other."""
    from engine.tools.inspect import describe

    for number, path in enumerate(options.file):
        say(("\n" if number else "") + describe(Path(path)))
    return 0


COMMAND = Command(
    name="inspect",
    help="say what a model or LoRA file is",
    example="inspect output/demo/demo.safetensors",
    options=Options,
    run=run,
    bare="file",
    needs=("file",),
)
