"""How a setting is described: help, valid values, sd-scripts' default. The last only where it differs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

SAME = object()  # marks that sd-scripts' default is ours too


@dataclass(frozen=True)
class Meta:
    """What `schema` says about one field besides its type and default.

    `low` and `high` are inclusive. `kind` names a way of reading text other than the field's type (see values.py).
    `rows` names the registry whose names are the choices. `off_at_zero`: 0, and less where `low` does not forbid it, means None, as
    sd-scripts reads it. `ours`: sd-scripts has no option of this name.
    """

    help: str
    choices: tuple[str | int, ...] = ()
    low: float | None = None
    high: float | None = None
    kind: str = ""
    rows: str = ""
    off_at_zero: bool = False
    sd_default: object = SAME
    ours: bool = False


def setting(
    default: bool | float | str | None,
    help: str,
    *,
    choices: tuple[str | int, ...] = (),
    low: float | None = None,
    high: float | None = None,
    kind: str = "",
    rows: str = "",
    off_at_zero: bool = False,
    sd_default: object = SAME,
    ours: bool = False,
) -> Any:  # as dataclasses.field: the real type is the field's annotation
    """A dataclass field with a default and a `Meta`."""
    meta = Meta(help, choices, low, high, kind, rows, off_at_zero, sd_default, ours)
    return dataclasses.field(default=default, metadata={"setting": meta})


def described(help: str, *, kind: str) -> dict[str, Meta]:
    """The metadata of a field whose default is made anew for each instance."""
    return {"setting": Meta(help, kind=kind)}
