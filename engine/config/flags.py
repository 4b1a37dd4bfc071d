"""The command line as sources of settings, spelled as in sd-scripts.

For instance `--network_dim 32`, `--shuffle_caption`, `--network_args "a=1" "b=2"`, `--key=value`.

Ours besides: `--config x.toml` (as `--config_file`, any number of times) and `--set key=value`. Files come before options in whatever
order they are written, as in sd-scripts. words.py says which words an option takes. What a front script handed over is the option
`--handover`, and counts as a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engine.config import handover, words
from engine.config.problems import Origin, Problem
from engine.config.sources import ConfigFile, Entry, Flags, Source
from engine.config.words import Known


@dataclass(frozen=True)
class CommandLine:
    """A command line taken apart. `own` holds the command's own options by name, each with the words after it."""

    sources: tuple[Source, ...]
    own: dict[str, tuple[str, ...]]


def split(arguments: Sequence[str], own: Sequence[str] = ()) -> CommandLine:
    """Take the words after `python -m engine <command>` apart. `own` are options of the command itself, as its help writes them.

    >>> split(["--config", "a.toml", "--seed", "1", "--all"], own=["--all"]).own
    {'all': ()}
    """
    problems: list[Problem] = []
    line = words.parse(_without_launcher(list(arguments), problems), Known.written(own, settings=True))
    problems.extend(line.problems)
    names = [option.partition(" ")[0].removeprefix("--") for option in own]
    files: list[Source] = []
    entries: list[Entry] = []
    mine: dict[str, tuple[str, ...]] = {}
    for name, values in line.options:
        flag = f"--{name}"
        if name in names:
            mine[name] = (*mine.get(name, ()), *values)
        elif name == words.HANDED:
            files.extend(handover.sources(values[0]))
        elif name in words.FILES:
            if not values:
                problems.append(Problem(Origin(flag=flag), name, "the name of a file is missing"))
            files.extend(ConfigFile(_with_ending(word), flag) for word in values)
        elif name == words.SET:
            entries.extend(_settings(values, problems))
        else:
            entries.append(Entry(name, values[0] if len(values) == 1 else values, Origin(flag=flag)))
    return CommandLine((*files, Flags(tuple(entries), tuple(problems), unread=bool(line.problems))), mine)


def _without_launcher(given: list[str], problems: list[Problem]) -> list[str]:
    """The words without what a pasted line has before its options (`accelerate launch ... train_network.py`), which is a problem."""
    script = next((at for at, word in enumerate(given) if word.endswith(".py")), -1)
    if script < 0 or given[0].startswith("--"):
        return given
    name = PurePath(given[script]).name
    message = f"begin with the options after it; `python -m engine train` stands for `{given[0]} ... {name}`"
    problems.append(Problem(Origin(flag=name), "", message))
    rest = given[script + 1 :]
    return rest[1:] if rest[:1] and rest[0] in words.JOINTS else rest


def _settings(values: tuple[str, ...], problems: list[Problem]) -> list[Entry]:
    """The `key=value` words of `--set`."""
    if not values:
        problems.append(Problem(Origin(flag="--set"), "", "write --set key=value"))
    found = []
    for word in values:
        key, equals, value = word.partition("=")
        if equals and key.strip():
            found.append(Entry(key.strip(), value, Origin(flag=f"--set {key.strip()}")))
        else:
            problems.append(Problem(Origin(flag=f"--set {word}"), "", "write --set key=value"))
    return found


def _with_ending(path: str) -> str:
    """sd-scripts lets `.toml` be left out."""
    return path if path.lower().endswith((".toml", ".json")) else f"{path}.toml"
