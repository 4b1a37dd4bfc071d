"""The dataset file: `[general]`, `[[datasets]]`, `[[datasets.subsets]]`.

A value in a subset wins over its dataset, that over `[general]`, that over the settings of the run, and those over the default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from engine.config import options, values
from engine.config.keys import Key, dataset_keys, run_keys, subset_keys
from engine.config.problems import Findings, Origin
from engine.config.schema_data import DataConfig, DatasetConfig, SubsetConfig
from engine.config.sources import DatasetTree
from engine.config.toml_lines import KeyPath
from engine.config.values import BadValue
from engine.errors import did_you_mean

_GENERAL, _DATASET, _SUBSET = "[general]", "[[datasets]]", "[[datasets.subsets]]"
_SUBSET_ONLY = ("image_dir", "is_reg", "metadata_file", "conditioning_data_dir")


@dataclass
class _Level:
    """What one table says: values for the whole dataset, and for its folders."""

    dataset: dict[str, Any] = field(default_factory=dict)
    subset: dict[str, Any] = field(default_factory=dict)


def build(tree: DatasetTree, run: DataConfig, findings: Findings) -> tuple[DatasetConfig, ...]:
    """The datasets of a file over the settings of the run. Problems are noted under their own lines."""
    if not tree.datasets:
        findings.problem(Origin(tree.file), "datasets", "there is no [[datasets]]; each needs a [[datasets.subsets]] with an image_dir")
    general = _read(tree, ("general",), tree.general, _GENERAL, findings)
    found = []
    for number, table in enumerate(tree.datasets):
        path: KeyPath = ("datasets", number)
        if isinstance(table, dict):
            own = _read(tree, path, table, _DATASET, findings)
            dataset = dataclasses.replace(run.dataset_options(), **{**general.dataset, **own.dataset})
            above = dataclasses.replace(run.subset_options(), **{**general.subset, **own.subset})
            subsets = _subsets(tree, (*path, "subsets"), table.get("subsets", []), above, findings)
            found.append(DatasetConfig(dataset, subsets))
        else:
            findings.problem(tree.origin(path), "datasets", "this is a list of tables; write [[datasets]]")
    return tuple(found)


def _subsets(tree: DatasetTree, path: KeyPath, tables: object, above: Any, findings: Findings) -> tuple[SubsetConfig, ...]:
    """The folders of one dataset. `above` holds the SubsetOptions of the levels around them."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        findings.problem(tree.origin(path), "subsets", "this is a list of tables; write [[datasets.subsets]]")
        return ()
    if not tables:
        findings.problem(tree.origin(path), "datasets", "this dataset has no [[datasets.subsets]]; each names a folder in image_dir")
    found: list[SubsetConfig] = []
    for number, table in enumerate(tables):
        here = (*path, number)
        own = _read(tree, here, table, _SUBSET, findings)
        if "image_dir" not in table:
            findings.problem(tree.origin(here), "image_dir", "it is missing; each [[datasets.subsets]] names its folder of pictures")
            continue
        try:
            folder = values.path(table["image_dir"])
        except BadValue as error:
            findings.unreadable(tree.origin((*here, "image_dir")), "image_dir", str(error))
            continue
        if folder in [subset.image_dir for subset in found]:
            message = f"`{folder}` stands in this dataset twice; raise num_repeats to see its pictures more often"
            findings.problem(tree.origin((*here, "image_dir")), "image_dir", message)
        found.append(SubsetConfig(folder, dataclasses.replace(above, **own.subset)))
    return tuple(found)


def _read(tree: DatasetTree, path: KeyPath, table: dict[str, object], place: str, findings: Findings) -> _Level:
    """The values of one table. `place` is how the table is written."""
    level = _Level()
    for name, raw in table.items():
        origin = tree.origin((*path, name))
        if (name, place) in (("subsets", _DATASET), ("image_dir", _SUBSET)):
            continue
        option = options.DATASET.get(name)
        if option is None:
            findings.problem(origin, name, _unknown(name))
        elif name in _SUBSET_ONLY and place != _SUBSET:
            findings.problem(origin, name, f"it belongs to {_SUBSET}, not to {place}")
        elif option.state == options.WORKS:
            _place(name, raw, place, origin, level, findings)
        elif option.asks(raw):
            options.judge(option, origin, findings)
    return level


def _place(name: str, raw: object, place: str, origin: Origin, level: _Level, findings: Findings) -> None:
    """Read one value into the dataset's or the folders' part of a level."""
    for_dataset = name in dataset_keys() and not (place == _SUBSET and name in subset_keys())
    if for_dataset and place == _SUBSET:
        findings.problem(origin, name, f"it holds for a whole dataset and belongs to {_DATASET} or {_GENERAL}, not to {_SUBSET}")
        return
    key: Key = dataset_keys()[name] if for_dataset else subset_keys()[name]
    try:
        (level.dataset if for_dataset else level.subset)[name] = values.read(key, raw)
    except BadValue as error:
        findings.unreadable(origin, name, str(error))


def _unknown(name: str) -> str:
    """What to say of a key that no dataset file has."""
    twins = {"train_batch_size": "batch_size", "dataset_repeats": "num_repeats", "caption_extention": "caption_extension"}
    if name in twins:
        return f"in a dataset file this is called `{twins[name]}`"
    if name in run_keys():
        return "this is a setting of the run, not of a dataset; it stands outside [general] and [[datasets]]"
    return f"unknown key. {did_you_mean(name, list(options.DATASET)) or 'It is no key of a dataset file'}"
