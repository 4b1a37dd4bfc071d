"""How an option is described: help, valid values, sd-scripts' default. The last only where it differs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

SAME = object()  # marks that sd-scripts' default is ours too
Default = bool | float | str | tuple[str, ...] | None


@dataclass(frozen=True)
class Ours:
    """Marks that a pasted line of sd-scripts gets ours, and not sd-scripts' default.

    `told` is what that is, where a reader of the line must know it; `value` what the line gets, SAME our default.
    """

    told: str = ""
    value: object = SAME


@dataclass(frozen=True)
class Meta:
    """What `schema` or a command says about one field besides its type and default.

    `low` and `high` are inclusive. `kind` names a way of reading text other than the field's type (see values.py).
    `rows` names the registry whose names are the choices. `off_at_zero`: 0, and less where `low` does not forbid it, means None, as
    sd-scripts reads it. `ours`: sd-scripts has no option of this name. `pasted` is what a pasted line of sd-scripts gets that leaves the
    key out (see pasted.py): SAME is `sd_default`, the other is an `Ours`.

    For the help of commands: `behind` is the word that stands behind the option (FILE, FOLDER), where it is not TEXT or NUMBER. Of a
    command's own options only: `alone` is what the option means that is written without a value, None where it needs one; `variable` is the
    front script's variable, where that has another name.
    """

    help: str
    choices: tuple[str | int, ...] = ()
    low: float | None = None
    high: float | None = None
    kind: str = ""
    rows: str = ""
    off_at_zero: bool = False
    sd_default: object = SAME
    pasted: object = SAME
    ours: bool = False
    behind: str = ""
    alone: Default = None
    variable: str = ""


def setting(
    default: Default,
    help: str,
    *,
    choices: tuple[str | int, ...] = (),
    low: float | None = None,
    high: float | None = None,
    kind: str = "",
    rows: str = "",
    off_at_zero: bool = False,
    sd_default: object = SAME,
    pasted: object = SAME,
    ours: bool = False,
    behind: str = "",
    alone: Default = None,
    variable: str = "",
) -> Any:  # as dataclasses.field: the real type is the field's annotation
    """A dataclass field with a default and a `Meta`."""
    meta = Meta(help, choices, low, high, kind, rows, off_at_zero, sd_default, pasted, ours, behind, alone, variable)
    return dataclasses.field(default=default, metadata={"setting": meta})


def described(help: str, *, kind: str) -> dict[str, Meta]:
    """The metadata of a field whose default is made anew for each instance."""
    return {"setting": Meta(help, kind=kind)}
