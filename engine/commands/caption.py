"""`caption`: a sentence for each picture, by a model here or by a server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from engine import captioners
from engine.commands.command import Command
from engine.environment import ROOT
from engine.tools.caption.options import Options

if TYPE_CHECKING:
    from engine.config.load import Loaded


def run(options: Options, loaded: Loaded) -> int:
    """Describe the pictures and write their captions; 1 where no picture got one."""
    from engine import downloads
    from engine.awake import kept_awake
    from engine.console import Reporter, confirmed
    from engine.tools.caption import command

    with kept_awake():
        folder = ROOT / "models" / captioners.FOLDER
        return command.caption(options, folder, downloads.hub(ROOT), Reporter(), confirmed if sys.stdin.isatty() else None)


COMMAND = Command(
    name="caption",
    help="write a sentence for each picture",
    example="caption train_data/mine",
    options=Options,
    run=run,
    bare="train_data_dir",
    needs=("train_data_dir",),
)
