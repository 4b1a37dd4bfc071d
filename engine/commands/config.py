"""`config`: every setting, its value and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.commands.command import Command, say
from engine.config.field import setting

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `config` takes besides the settings."""

    reference: bool = setting(False, "print configs/reference.toml instead: every setting with its default and unit")


def run(options: Options, loaded: Loaded) -> int:
    """Print the settings."""
    from engine import registries
    from engine.config.reference import reference
    from engine.config.report import report

    say(reference(registries.rows()) if options.reference else report(loaded))
    return 0


COMMAND = Command(
    name="config",
    help="print every setting, its value and where it came from",
    example="config --config configs/demo.toml",
    options=Options,
    run=run,
    settings=True,
)
