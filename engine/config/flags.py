"""sd-scripts' command line as sources of settings: `--network_dim 32`, `--shuffle_caption`, `--network_args "a=1" "b=2"`, `--key=value`.

An option takes every word up to the next option, so that no table of arities is needed. Ours besides: `--config x.toml` (as
`--config_file`, any number of times) and `--set key=value`. Files come before options in whatever order they are written, as in sd-scripts.
What a front script handed over is the option `--handover`, and counts as a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engine.config import handover
from engine.config.problems import Origin, Problem
from engine.config.sources import ConfigFile, Entry, Flags, Source

_FILES = ("config", "config_file")


@dataclass(frozen=True)
class CommandLine:
    """A command line taken apart. `own` holds the command's own options by name, each with the words after it."""

    sources: tuple[Source, ...]
    own: dict[str, tuple[str, ...]]


def split(arguments: Sequence[str], own: Sequence[str] = ()) -> CommandLine:
    """Take the words after `python -m engine <command>` apart. `own` names options of the command itself, without dashes.

    >>> split(["--config", "a.toml", "--seed", "1", "--all"], own=["all"]).own
    {'all': ()}
    """
    problems: list[Problem] = []
    options = _options(_without_beginning([word for word in arguments if word != "--"], problems))
    files: list[Source] = []
    entries: list[Entry] = []
    mine: dict[str, tuple[str, ...]] = {}
    for name, words in options:
        flag = f"--{name}"
        if name in own:
            mine[name] = (*mine.get(name, ()), *words)
        elif name == handover.OPTION:
            files.extend(handover.sources(words[0]))
        elif name in _FILES:
            if not words:
                problems.append(Problem(Origin(flag=flag), name, "the name of a file is missing"))
            files.extend(ConfigFile(_with_ending(word), flag) for word in words)
        elif name == "set":
            entries.extend(_settings(words, problems))
        else:
            entries.append(Entry(name, words[0] if len(words) == 1 else words, Origin(flag=flag)))
    return CommandLine((*files, Flags(tuple(entries), tuple(problems))), mine)


def _options(words: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Words as options, each with its values."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            found.append((name.replace("-", "_"), (value,) if equals else ()))
        else:
            name, values = found[-1]
            found[-1] = (name, (*values, word))
    return found


def _without_beginning(words: list[str], problems: list[Problem]) -> list[str]:
    """The words from the first option on. What a pasted line has before it (`accelerate launch ... train_network.py`) is a problem."""
    if not words or words[0].startswith("--"):
        return words
    script = next((at for at, word in enumerate(words) if word.endswith(".py")), -1)
    first = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    start = script + 1 if script >= 0 else first
    if script >= 0:
        name = PurePath(words[script]).name
        message = f"begin with the options after it; `python -m engine train` stands for `{words[0]} ... {name}`"
    else:
        name, message = words[0], "options begin with two dashes, such as --network_dim 32"
    problems.append(Problem(Origin(flag=name), "", message))
    rest = words[start:]
    while rest and not rest[0].startswith("--"):
        rest = rest[1:]
    return rest


def _settings(words: tuple[str, ...], problems: list[Problem]) -> list[Entry]:
    """The `key=value` words of `--set`."""
    if not words:
        problems.append(Problem(Origin(flag="--set"), "", "write --set key=value"))
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key.strip():
            found.append(Entry(key.strip(), value, Origin(flag=f"--set {key.strip()}")))
        else:
            problems.append(Problem(Origin(flag=f"--set {word}"), "", "write --set key=value"))
    return found


def _with_ending(path: str) -> str:
    """sd-scripts lets `.toml` be left out."""
    return path if path.lower().endswith((".toml", ".json")) else f"{path}.toml"
