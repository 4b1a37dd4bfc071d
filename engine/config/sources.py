"""The sources of settings: files and the command line. Each is entries that know where they stand. Nothing is judged here but form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.config import toml_lines
from engine.config.keys import run_keys
from engine.config.problems import Findings, Origin, Problem
from engine.config.toml_lines import KeyPath
from engine.errors import UserError


@dataclass(frozen=True)
class Entry:
    """A key as somebody wrote it, and its value before it has a type: a TOML value, or the text or texts after an option.

    `parts` says of the `name=value` words among the value which stand somewhere else, under their own names.
    """

    key: str
    raw: object
    origin: Origin
    parts: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetTree:
    """`[general]` and `[[datasets]]` as a file says them. `lines` holds the line of every key path."""

    general: dict[str, object]
    datasets: list[object]
    file: str
    lines: dict[KeyPath, int]

    def origin(self, path: KeyPath) -> Origin:
        """Where the value at `path` stands, or the table around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return Origin(self.file, self.lines.get(path, 0))


@dataclass(frozen=True)
class ConfigFile:
    """A TOML file of settings: flat as sd-scripts' `config_file`, or in sections. `flag` names it: an option, or a script and its line."""

    path: str
    flag: str = ""


@dataclass(frozen=True)
class Flags:
    """The options of a command line or the variables of a front script, what is wrong with their form, and what should be said of them.

    `unread`: there are words that belong to no option, which may have meant any setting. `pasted`: the entries are what a pasted line of
    sd-scripts gets that leaves their keys out.
    """

    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    unread: bool = False
    pasted: bool = False


Source = ConfigFile | Flags


@dataclass(frozen=True)
class RunFile:
    """What one file of settings says: entries, and a dataset where it holds one."""

    entries: tuple[Entry, ...] = ()
    dataset: DatasetTree | None = None


def read(source: Source, findings: Findings) -> RunFile:
    """The entries of a source; a file that cannot be read is a problem and gives none."""
    if isinstance(source, Flags):
        findings.problems.extend(source.problems)
        findings.notices.extend(source.notices)
        findings.unread = findings.unread or source.unread
        return RunFile(source.entries)
    try:
        values, lines = toml_lines.read_file(source.path)
    except UserError as error:
        note(error, findings, f"; {source.flag} names it" if source.flag else "")
        findings.unread = True
        return RunFile()
    return _run_file(source.path, values, lines, findings)


def read_dataset(entry: Entry, path: str, findings: Findings) -> DatasetTree | None:
    """The file that `dataset_config` names; None, and a problem, where it cannot be read."""
    if not Path(path).is_file():
        findings.unreadable(entry.origin, entry.key, f"`{path}` does not exist; the path counts from the current folder")
        return None
    try:
        values, lines = toml_lines.read_file(path)
    except UserError as error:
        note(error, findings)
        findings.broken.add(entry.key)
        return None
    tree = _tree(path, values, lines, findings)
    for name in values:
        if name not in ("general", "datasets"):
            origin = Origin(path, lines.get((name,), 0))
            findings.problem(origin, name, "a dataset file holds [general] and [[datasets]] only; other settings stand in the run's file")
    return tree


def note(error: UserError, findings: Findings, more: str = "") -> None:
    """A file that cannot be read, as a problem among the others; `more` follows the hint."""
    file, _, line = error.where.rpartition(":")
    origin = Origin(file, int(line)) if file and line.isdigit() else Origin(error.where)
    findings.problem(origin, "", f"{error.message}. {error.hint[:1].upper() + error.hint[1:]}".rstrip(" .") + more)


def _run_file(path: str, values: dict[str, object], lines: dict[KeyPath, int], findings: Findings) -> RunFile:
    """Flatten the sections of a file, which are decoration, and take its dataset out."""
    tree = _tree(path, values, lines, findings) if "datasets" in values else None
    entries: list[Entry] = []
    for name, value in values.items():
        if name == "datasets" or (name == "general" and "datasets" in values):
            continue
        if isinstance(value, dict) and name not in run_keys():
            for key, inner in value.items():
                if isinstance(inner, dict) and key not in run_keys():
                    findings.problem(Origin(path, lines.get((name, key), 0)), f"{name}.{key}", "a section holds keys, not further sections")
                    continue
                entries.append(Entry(key, inner, Origin(path, lines.get((name, key), 0))))
        else:
            entries.append(Entry(name, value, Origin(path, lines.get((name,), 0))))
    return RunFile(tuple(_once(entries, findings)), tree)


def _once(entries: list[Entry], findings: Findings) -> list[Entry]:
    """The entries, where no key stands in two sections of one file."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        if entry.key in seen:
            findings.problem(entry.origin, entry.key, f"it stands in this file twice; the other is in line {seen[entry.key].origin.line}")
        seen.setdefault(entry.key, entry)
    return list(seen.values())


def _tree(path: str, values: dict[str, object], lines: dict[KeyPath, int], findings: Findings) -> DatasetTree | None:
    """The dataset part of a file, where it has the right form."""
    general, datasets = values.get("general", {}), values.get("datasets", [])
    if not isinstance(general, dict):
        findings.problem(Origin(path, lines.get(("general",), 0)), "general", "this is a table; write [general]")
        return None
    if not isinstance(datasets, list):
        findings.problem(
            Origin(path, lines.get(("datasets",), 0)), "datasets", "this is a list of tables; write [[datasets]] with two brackets"
        )
        return None
    return DatasetTree(general, datasets, path, lines)
