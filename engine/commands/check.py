"""`check`: what a run would see of the pictures, and a page of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.commands.command import Command
from engine.config.field import setting

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `check` takes besides the settings."""

    sheet: str | None = setting(None, "where the contact sheet goes; left out: check.html in output_dir", kind="path", behind="FILE")


def run(options: Options, loaded: Loaded) -> int:
    """Report and write the sheet; 1 where a run would stop."""
    from engine.tools import check

    return check.run(loaded.config, loaded.notices, sheet=options.sheet)


COMMAND = Command(
    name="check",
    help="look at pictures and captions first: folders, buckets, tokens, steps, a contact sheet; trains nothing",
    example="check train_data/demo",
    options=Options,
    run=run,
    settings=True,
    bare="train_data_dir",
    needs=("train_data_dir",),
)
