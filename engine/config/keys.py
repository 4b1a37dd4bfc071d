"""The schema as a table: every key with section, type, default, help. A command's own options are keys too."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass

from engine.config import schema, schema_data
from engine.config.field import Meta


@dataclass(frozen=True)
class Key:
    """One setting. `type` is bool, int, float, str, tuple or dict; `optional` means that None is a value too."""

    name: str
    section: str  # the attribute of Config; "" for keys of a dataset file and for a command's own options
    type: type
    optional: bool
    default: object
    meta: Meta

    @property
    def behind(self) -> str:
        """What stands behind the option in a help: `FILE ...`, `NUMBER`; between brackets what may be left out, nothing for a switch."""
        if self.type is bool:
            return ""
        word = self.meta.behind or ("NUMBER" if self.type in (int, float) else "TEXT")
        several = f"{word} ..." if self.type is tuple else word
        return several if self.meta.alone is None else f"[{several}]"


@dataclass(frozen=True)
class Section:
    """One section: its attribute of Config, its dataclass and its keys in the order of the fields."""

    name: str
    type: type
    keys: tuple[Key, ...]


def plain(hint: object) -> tuple[type, bool]:
    """An annotation as (type, optional): `int | None` -> (int, True), `tuple[int, int]` -> (tuple, False)."""
    if isinstance(hint, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return plain(inner[0])[0], True
    kind = typing.get_origin(hint) or hint
    assert isinstance(kind, type), hint
    return kind, False


def keys_of(cls: type, section: str = "") -> tuple[Key, ...]:
    """The keys of a dataclass, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    found = []
    own = cls.__annotations__  # without those of base classes: a section begins with its own keys
    for field in sorted(dataclasses.fields(cls), key=lambda field: field.name not in own):
        if "setting" not in field.metadata:
            continue
        kind, optional = plain(hints[field.name])
        default = {} if field.default is dataclasses.MISSING else field.default
        found.append(Key(field.name, section, kind, optional, default, field.metadata["setting"]))
    return tuple(found)


@functools.cache
def sections() -> tuple[Section, ...]:
    """The sections of a run in the order of `Config`."""
    hints = typing.get_type_hints(schema.Config)
    return tuple(Section(name, cls, keys_of(cls, name)) for name, cls in hints.items())


@functools.cache
def run_keys() -> dict[str, Key]:
    """Every key of a run by name. Names are unique over the sections."""
    return {key.name: key for section in sections() for key in section.keys}


@functools.cache
def dataset_keys() -> dict[str, Key]:
    """Keys of `[general]` and `[[datasets]]` that hold for a whole dataset."""
    return {key.name: key for key in keys_of(schema_data.DatasetOptions)}


@functools.cache
def subset_keys() -> dict[str, Key]:
    """Keys that hold for one folder; they may stand at any level of a dataset file."""
    return {key.name: key for key in keys_of(schema_data.SubsetOptions)}
