"""`tensorboard`: the curves of training, in the browser."""

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
    """What `tensorboard` takes."""

    logdir: str = setting("logs", "folder of the logs", kind="path", behind="FOLDER", variable="logging_dir")
    port: int = setting(6006, "the first port to try, 1 to 65535", low=1, high=65535)
    browser: bool = setting(False, "open the page in the browser", variable="open_browser")


def run(options: Options, loaded: Loaded) -> int:
    """Show the logs until Ctrl-C."""
    from engine.tools import tensorboard

    tensorboard.run(Path(options.logdir), options.port, say, browser=options.browser)
    return 0


COMMAND = Command(
    name="tensorboard",
    help="show the curves of training in the browser",
    example="tensorboard logs --browser",
    options=Options,
    run=run,
    bare="logdir",
)
