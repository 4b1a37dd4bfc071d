"""`bundle`: the zip that is handed out for Windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__
from engine.commands.command import Command, say
from engine.config.field import setting
from engine.environment import ROOT
from engine.locks import BUILDS

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `bundle` takes."""

    wheels: tuple[str, ...] = setting(
        (), f"put packages in, so that it installs offline: for these builds of torch ({', '.join(BUILDS)}), or for all; left out: none",
        choices=BUILDS, behind="BUILD", alone=BUILDS,
    )  # fmt: skip
    out: str | None = setting(None, "where the zip goes; left out: dist/", kind="path", behind="FILE")


def run(options: Options, loaded: Loaded) -> int:
    """Write the zip."""
    from engine import downloads
    from engine.tools import bundle

    name = f"portable-lora-trainer-{__version__}-windows{'-offline' if options.wheels else ''}.zip"
    bundle.make(ROOT, Path(options.out or ROOT / "dist" / name), downloads.read(ROOT), options.wheels, say)
    return 0


COMMAND = Command(
    name="bundle",
    help="make the zip for Windows; with --wheels one that installs offline",
    example="bundle",
    options=Options,
    run=run,
)
