"""The commands: their table, and the exit codes. Each command imports what it needs only when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine import __version__, environment
from engine.commands import (
    bundle,
    cache,
    caption,
    captions,
    check,
    config,
    doctor,
    download,
    help,
    inspect,
    missing,
    sample,
    tag,
    tensorboard,
    train,
)
from engine.commands.command import Command, say
from engine.config import HANDOVER
from engine.errors import UserError, find_row

if TYPE_CHECKING:
    from engine.config.problems import Origin

COMMANDS: tuple[Command[Any], ...] = (
    train.COMMAND,
    check.COMMAND,
    cache.COMMAND,
    tag.COMMAND,
    caption.COMMAND,
    captions.COMMAND,
    sample.COMMAND,
    inspect.COMMAND,
    tensorboard.COMMAND,
    config.COMMAND,
    download.COMMAND,
    bundle.COMMAND,
    doctor.COMMAND,
)


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the exit status: 0 done, 1 something to mend, 130 stopped by the user."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that was replaced by something simpler
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a code page lacks most characters
    handed_over = os.environ.pop(HANDOVER, "")  # so that no process started from here takes it for its own
    environment.apply(environment.ROOT)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(environment.as_typed(help.general(COMMANDS)))
        return 0
    if arguments[0] in ("-V", "--version"):
        say(f"portable trainer {__version__}")
        return 0
    return _run(arguments[0], arguments[1:], handed_over)


def _run(name: str, words: Sequence[str], handed_over: str) -> int:
    """Run a command, and say what went wrong."""
    from engine.config import handover

    origins: Mapping[str, Origin] = {}
    try:
        command = find_row(COMMANDS, name, "command", "")
        given = handover.read(handed_over) if handed_over else None
        script = given if given and given.command == command.name else None  # what was handed to another command is not taken
        if {"-h", "--help"} & {*words, *(script.words() if script else ())}:
            say(environment.as_typed(help.of(command, windows=sys.platform == "win32")))
            return 0
        chosen, loaded = command.read(words, script)
        origins = loaded.origins
        return command.run(chosen, loaded)
    except UserError as error:
        return _refuse(error, origins)
    except ModuleNotFoundError as error:
        told = missing.module(error)
        if told is None:
            raise
        return _refuse(told, {})
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what was cached or saved before is kept\n")
        return 130
    except Exception:
        lacking = missing.packages()
        if not lacking:
            raise
        traceback.print_exc()
        sys.stderr.writelines(f"{line}\n" for line in lacking)
        return 1


def _refuse(error: UserError, origins: Mapping[str, Origin]) -> int:
    """Say what was wrong, and where the front script that called sets it; the exit status."""
    from engine.config import handover

    sys.stderr.write(f"error: {environment.as_typed(str(error))}\n")
    sys.stderr.writelines(f"{line}\n" for line in handover.places(origins, str(error)))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
