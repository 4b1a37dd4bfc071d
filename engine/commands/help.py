"""What `--help` says, of all commands and of one. It comes from the fields that the words are read by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine import __version__
from engine.commands.command import Command
from engine.environment import ROOT

if TYPE_CHECKING:
    from engine.config.keys import Key


def general(commands: Sequence[Command[Any]]) -> str:
    """All commands, a line each."""
    width = max(len(command.name) for command in commands)
    lines = [f"portable trainer {__version__}", "", "python -m engine <command> [--option value ...]", ""]
    lines.extend(f"  {command.name:<{width}}  {command.help}" for command in commands)
    lines.extend(["", "`python -m engine <command> --help` shows a command's own options and an example."])
    return "\n".join([*lines, "", *_SETTINGS])


def of(command: Command[Any], *, windows: bool) -> str:
    """What one command does, how it is typed, an example, and its own options with what stands behind them, default and unit."""
    lines = [command.help, "", f"usage    python -m engine {typed(command)}"]
    if windows and (ROOT / f"scripts/{command.name}.cmd").is_file():
        lines.append(rf"or       scripts\{command.name}.cmd, with the same behind it")
    lines.append(f"example  python -m engine {command.example}")
    actions = command.actions()
    across = max((len(written) for written, _ in actions), default=0)
    lines.extend(["", *(f"  {written:<{across}}  {does}" for written, does in actions)] if actions else [])
    bare = command.bare_key()
    keys = [*([bare] if bare and bare not in command.own() else []), *command.own()]
    width = max((len(_written(key, command)) for key in keys), default=0)
    lines.extend(["", *(f"  {_written(key, command):<{width}}  {told(key)}" for key in keys)] if keys else [])
    return "\n".join([*lines, *(("", *_SETTINGS) if command.settings else ())])


def path(command: Command[Any]) -> str:
    """The path that stands alone, between brackets where it may be left out; empty where there is none."""
    bare = command.bare_key()
    return "" if bare is None else bare.behind if bare.name in command.needs and bare in command.own() else f"[{bare.behind}]"


def typed(command: Command[Any]) -> str:
    """What is typed behind `python -m engine`."""
    own = [f"[{_written(key, command)}]" for key in command.own() if key.name != command.bare]
    if len(own) > _LISTED:
        own = ["[--option value ...]"]
    return " ".join(filter(None, [command.name, path(command), *own, "[--setting value ...]" if command.settings else ""]))


def told(key: Key) -> str:
    """What an option does, with its unit, and what is taken where it is left out."""
    from engine.config.report import literal

    return key.meta.help if key.default in (None, "", ()) else f"{key.meta.help}; left out: {literal(key.default)}"


def _written(key: Key, command: Command[Any]) -> str:
    """An option as it is typed; between brackets its name, where a path that stands alone means it."""
    name = f"[--{key.name}]" if key.name == command.bare else f"--{key.name}"
    return f"{name} {key.behind}".rstrip()


_LISTED = 8  # options in the line that says how a command is typed; more of them are in the list below it alone
_SETTINGS = (
    "Every setting is an option too: --network_dim 32, --config file.toml, --set key=value; later ones win.",
    "A whole command line of sd-scripts is taken as well: accelerate launch ... train_network.py --network_dim=32 ...",
    "configs/reference.toml lists all of them with default and unit; `python -m engine config` prints their values.",
)
