"""The command line as sources of settings, spelled as in sd-scripts.

For instance `--network_dim 32`, `--shuffle_caption`, `--network_args "a=1" "b=2"`, `--key=value`.

Ours besides: `--config x.toml` (as `--config_file`, any number of times), `--set key=value`, and the options of the command itself, which
are read here. Files come before options in whatever order they are written, as in sd-scripts, and so does what a front script handed over.
A pasted line of sd-scripts is complete: what it leaves out comes from nowhere else (pasted.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config import handover, pasted, stray, words
from engine.config.handover import Script
from engine.config.known import FILES, SET, SETTINGS, Known
from engine.config.problems import Origin, Problem
from engine.config.sources import ConfigFile, Entry, Flags, Source
from engine.config.values import NO_VALUE, BadValue, read


@dataclass(frozen=True)
class CommandLine:
    """A command line taken apart. `own` holds the values of the command's own options that were given, by name."""

    sources: tuple[Source, ...]
    own: Mapping[str, object]

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the form of the words, and with the values of the command's own options."""
        return [problem for source in self.sources if isinstance(source, Flags) for problem in source.problems]


def split(arguments: Sequence[str], known: Known = SETTINGS, script: Script | None = None) -> CommandLine:
    """Take the words after `python -m engine <command>` apart, with what a front script handed over below them.

    >>> split(["--config", "a.toml", "--seed", "1"]).sources[0]
    ConfigFile(path='a.toml', flag='--config')
    """
    problems: list[Problem] = []
    given = [*(script.words() if script else ()), *arguments]
    paste = pasted.find(given, known) if known.settings else None
    if paste and paste.refusal:
        return CommandLine((Flags(problems=(paste.refusal,), unread=True),), {})
    line = words.parse(paste.words if paste else given, known)
    problems.extend([*(paste.problems if paste else ()), *line.problems])
    handed = handover.take(script, known, complete=paste is not None) if script else handover.Handed((), ())
    files: list[Source] = [*([paste.source] if paste else ()), *handed.sources]
    entries: list[Entry] = []
    mine: list[Entry] = []
    for name, values in line.options:
        origin = Origin(flag=line.written(name))
        if name in known.own:
            mine.append(Entry(name, values, origin))
        elif known.takes(name) is None:
            problems.append(Problem(origin, name, stray.unknown(name, known)))
        elif name in FILES:
            if not values:
                problems.append(Problem(origin, name, "the name of a file is missing"))
            files.extend(ConfigFile(_with_ending(word), origin.flag) for word in values)
        elif name == SET:
            entries.extend(_settings(values, problems))
        else:
            entries.append(Entry(name, values[0] if len(values) == 1 else values, origin))
    typed = {entry.key for entry in mine}
    own = _values([*(entry for entry in handed.own if entry.key not in typed), *mine], known, problems)
    unread = bool(line.problems) or (paste is not None and bool(paste.joint))
    return CommandLine((*files, Flags(tuple(entries), tuple(problems), unread=unread)), own)


def _values(given: Sequence[Entry], known: Known, problems: list[Problem]) -> dict[str, object]:
    """The values of a command's own options: the last of two counts, and of those that take several all do."""
    found: dict[str, object] = {}
    for entry in given:
        key = known.own[entry.key]
        words_of = entry.raw if isinstance(entry.raw, list | tuple) else [entry.raw]
        alone = entry.raw == NO_VALUE and (key.type is bool or key.meta.alone is not None)
        try:
            if not alone and not (words_of and all(str(word).strip() for word in words_of)):
                raise BadValue(f"needs a value: {stray.written(key.name, known)}")
            value = read(key, entry.raw)
        except BadValue as error:
            problems.append(Problem(entry.origin, entry.key, str(error)))
            continue
        earlier = found.get(entry.key)
        found[entry.key] = (*earlier, *value) if isinstance(earlier, tuple) and isinstance(value, tuple) else value
    return found


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
