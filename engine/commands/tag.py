"""`tag`: captions of pictures, written by a tagger."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from engine.commands.command import Command
from engine.environment import ROOT
from engine.tools.tag.options import Options

if TYPE_CHECKING:
    from engine.config.load import Loaded


def run(options: Options, loaded: Loaded) -> int:
    """Look at the pictures and write their captions."""
    from engine import downloads
    from engine.awake import kept_awake
    from engine.console import Reporter, confirmed
    from engine.tools.tag import command

    with kept_awake():
        ask = confirmed if sys.stdin.isatty() else None
        return command.tag(options, ROOT / "models" / "taggers", downloads.hub(ROOT), Reporter(), ask)


COMMAND = Command(
    name="tag",
    help="write the captions of pictures with a tagger: WD, PixAI, JoyTag and others",
    example="tag train_data/mine --remove_underscore",
    options=Options,
    run=run,
    bare="train_data_dir",
    needs=("train_data_dir",),
)
