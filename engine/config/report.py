"""Settings as text: the list of `config`, and a run's own TOML file. That file loads back to the same settings."""

from __future__ import annotations

import dataclasses
import json

from engine.config import args
from engine.config.field import SAME
from engine.config.keys import Key, sections
from engine.config.load import Loaded
from engine.config.problems import DEFAULT
from engine.config.schema import Config
from engine.config.schema_data import DataConfig, DatasetOptions, SubsetOptions

_VALUE_WIDTH = 56  # characters; longer values push the rest of their line


def report(loaded: Loaded) -> str:
    """One line a setting, section by section; the notices and the datasets, where there are any, at the end."""
    blocks = []
    for section in sections():
        values = getattr(loaded.config, section.name)
        blocks.append("\n".join([f"[{section.name}]", *(_line(key, getattr(values, key.name), loaded) for key in section.keys)]))
    if loaded.config.data.datasets:
        blocks.append("\n\n".join([f"# from {loaded.origins['datasets'].file}", *_datasets(loaded.config.data)]))
    blocks.extend(f"note: {notice}" for notice in loaded.notices)
    return "\n\n".join(blocks) + "\n"


def _line(key: Key, value: object, loaded: Loaded) -> str:
    origin = loaded.origins.get(key.name, DEFAULT)
    setting = f"{key.name} = {'(not set)' if value is None else literal(value)}"
    differs = f"   (sd-scripts: {shown(key.meta.sd_default)})" if key.meta.sd_default is not SAME else ""
    return f"  {setting:<{_VALUE_WIDTH}} {origin}{differs}"


def literal(value: object) -> str:
    """A value as TOML writes it. None is written as an empty text, which `load` reads as none.

    >>> literal((512, 768)), literal(1e-5), literal('a "b"'), literal({"conv_dim": 4})
    ('[512, 768]', '1e-05', '"a \\\\"b\\\\""', '["conv_dim=4"]')
    """
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return literal(tuple(args.show(value)))
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(part) for part in value)}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def dump(config: Config) -> str:
    """The settings of a run as a TOML file that loads back to the same Config."""
    blocks = []
    for section in sections():
        values = getattr(config, section.name)
        lines = [f"[{section.name}]"]
        for key in section.keys:
            value = getattr(values, key.name)
            if value is not None or key.default is not None:
                lines.append(f"{key.name} = {literal(value)}")
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, *_datasets(config.data)]) + "\n"


def _datasets(data: DataConfig) -> list[str]:
    """The tables of a dataset file; only what differs from the settings of the run is written."""
    blocks = []
    for dataset in data.datasets:
        blocks.append("\n".join(["[[datasets]]", *_changed(dataset.options, data.dataset_options())]))
        for subset in dataset.subsets:
            head = ["[[datasets.subsets]]", f"image_dir = {literal(subset.image_dir)}"]
            blocks.append("\n".join([*head, *_changed(subset.options, data.subset_options())]))
    return blocks


def _changed(options: DatasetOptions | SubsetOptions, above: DatasetOptions | SubsetOptions) -> list[str]:
    """The lines of a dataset or folder that differ from the settings of the run."""
    found = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value != getattr(above, field.name):
            found.append(f"{field.name} = {literal(value)}")
    return found


def shown(value: object) -> str:
    """A default as a reader sees it."""
    return "not set" if value is None else literal(value)
