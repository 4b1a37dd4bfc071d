"""From sources of settings to one Config, with all problems told at once. Every value knows its origin. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config import args, datasets, options, pasted, rules, sources, stray, values
from engine.config.keys import Key, run_keys, sections
from engine.config.problems import DEFAULT, ConfigError, Findings, Origin
from engine.config.rows import OptionRow, Rows
from engine.config.schema import Config
from engine.config.schema_data import DatasetConfig
from engine.config.sources import DatasetTree, Entry, Flags, Source
from engine.config.values import BadValue
from engine.errors import did_you_mean, row_named


@dataclass(frozen=True)
class Loaded:
    """A run's settings. `origins` has every key, and `datasets` where a dataset file was read; `notices` are for the user to read."""

    config: Config
    origins: Mapping[str, Origin]
    notices: tuple[str, ...]


def load(given: Sequence[Source], rows: Rows, required: Sequence[str] = ()) -> Loaded:
    """Read the sources in order, later ones winning, and check everything.

    `required` names keys that the command cannot do without; for `train_data_dir` a dataset file serves too.
    Raises ConfigError with every problem.
    """
    findings = Findings()
    entries, tree, pointer = _gather(given, findings)
    found: dict[str, object] = {}
    origins = dict.fromkeys(run_keys(), DEFAULT)
    for entry in entries.values():
        origins[entry.key] = entry.origin
        key = run_keys()[entry.key]
        try:
            found[entry.key] = _value(key, entry.raw, rows)
        except BadValue as error:
            findings.unreadable(entry.origin, entry.key, str(error))
    _arguments("network_args", "network_module", rows.methods, found, entries, findings)
    _arguments("optimizer_args", "optimizer_type", rows.optimizers, found, entries, findings)
    config = _config(found, rows)
    if pointer is not None and tree is not None:
        findings.problem(
            pointer.origin, pointer.key, f"names a dataset file, but {tree.origin(('datasets',))} has [[datasets]] too; keep one"
        )
    elif pointer is not None:
        tree = _pointed(pointer, findings)
    if tree is not None:
        origins["datasets"] = tree.origin(("datasets",))
        config = _with_datasets(config, tree, origins, findings)
    if any(isinstance(source, Flags) and source.pasted for source in given):
        findings.notices.extend(pasted.notices(config, origins, {str(path[-1]) for path in tree.lines if path} if tree else ()))
    rules.run(rules.View(config, origins, findings))
    has_dataset = pointer is not None or tree is not None
    _require([name for name in required if not (name == "train_data_dir" and has_dataset)], config, findings)
    if findings.problems:
        raise ConfigError(findings.problems)
    return Loaded(config, origins, tuple(findings.notices))


def _gather(given: Sequence[Source], findings: Findings) -> tuple[dict[str, Entry], DatasetTree | None, Entry | None]:
    """The last entry of every key that works, the last dataset tree, and what names a dataset file."""
    entries: dict[str, Entry] = {}
    tree: DatasetTree | None = None
    pointer: Entry | None = None
    for source in given:
        file = sources.read(source, findings)
        tree = file.dataset or tree
        for entry in file.entries:
            known = _known(entry, findings)
            if known is None:
                continue
            if known.key == "dataset_config":
                pointer = known if known.raw not in ("", None) else None
            elif known.key == "config_file":
                findings.problem(known.origin, known.key, "a file of settings cannot name another; give both on the command line")
            else:
                entries[known.key] = known
    return entries, tree, pointer


def _known(entry: Entry, findings: Findings) -> Entry | None:
    """The entry under its present name; None where its value leaves it off or it is noted as a problem."""
    key = run_keys().get(entry.key)
    option = options.RUN.get(entry.key)
    if option is None and key is None:
        findings.problem(entry.origin, entry.key, _unknown(entry))
        return None
    if option is None or (option.state == options.WORKS and not option.same_as):
        return entry
    if option.state != options.WORKS:
        if option.asks(entry.raw):
            options.judge(option, entry.origin, findings)
        return None
    if not option.value:
        return Entry(option.same_as, entry.raw, entry.origin)
    return Entry(option.same_as, option.value, entry.origin) if option.asks(entry.raw) else None


def _unknown(entry: Entry) -> str:
    """What to say of a key that neither sd-scripts nor the schema has."""
    guess = did_you_mean(entry.key, [*run_keys(), *options.RUN])
    return stray.elsewhere(entry.key) or f"unknown key. {guess or '`configs/reference.toml` lists all'}"


def _value(key: Key, raw: object, rows: Rows) -> object:
    """A typed value; one that sd-scripts has and we have not is named as such."""
    registry = rows.of(key.meta.rows)
    word = str(raw).lower()
    if word in options.VALUES_NEVER.get(key.name, {}):
        raise BadValue(f"`{raw}` is not supported; {options.VALUES_NEVER[key.name][word]}")
    if row_named(registry, word) is None and word in options.VALUES_NOT_YET.get(key.name, "").lower().split():
        known = ", ".join(row.name for row in registry) or ", ".join(str(choice) for choice in key.meta.choices)
        advice = options.VALUES_ADVICE.get(key.name, {}).get(word, "")
        raise BadValue(f"`{raw}` is not available yet; there is {known}" + (f". {advice}" if advice else ""))
    return values.read(key, raw, registry)


def _arguments(
    key: str, owner: str, registry: Sequence[OptionRow], found: dict[str, object], entries: Mapping[str, Entry], findings: Findings
) -> None:
    """Give the `name=value` options under `key` the types of the row that `owner` names."""
    given = found.get(key)
    if not isinstance(given, dict) or owner in findings.broken:
        return
    name = str(found.get(owner, run_keys()[owner].default))
    row = row_named(registry, name)
    if row is not None:
        found[key] = args.check(entries[key], given, row, findings)


def _config(found: Mapping[str, object], rows: Rows) -> Config:
    """The sections, with defaults where nothing (readable) was given. Names of registries become the row's own name."""
    built: dict[str, Any] = {}
    for section in sections():
        chosen: dict[str, Any] = {}
        for key in section.keys:
            if key.name in found:
                chosen[key.name] = found[key.name]
            elif key.meta.rows and key.default is not None:
                row = row_named(rows.of(key.meta.rows), str(key.default))
                chosen[key.name] = row.name if row else key.default
        built[section.name] = section.type(**chosen)
    return Config(**built)


def _pointed(pointer: Entry, findings: Findings) -> DatasetTree | None:
    """The dataset file that `dataset_config` names."""
    try:
        return sources.read_dataset(pointer, values.path(pointer.raw), findings)
    except BadValue as error:
        findings.unreadable(pointer.origin, pointer.key, str(error))
        return None


def _with_datasets(config: Config, tree: DatasetTree, origins: Mapping[str, Origin], findings: Findings) -> Config:
    """The config with its datasets, each checked like the run's own sizes."""
    built: tuple[DatasetConfig, ...] = datasets.build(tree, config.data, findings)
    view = rules.View(config, origins, findings)
    for number, dataset in enumerate(built):
        rules.dataset(view, dataset.options, tree, number)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, datasets=built))


def _require(required: Sequence[str], config: Config, findings: Findings) -> None:
    """What the command needs and nobody set. Where a file or a word could not be read, that is the mistake to mend."""
    for name in () if findings.unread else required:
        key = run_keys()[name]
        value = getattr(getattr(config, key.section), name)
        if value is None and name not in findings.broken:
            findings.problem(DEFAULT, name, f"is not set: {key.meta.help}")
