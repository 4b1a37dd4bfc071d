"""What the registries of the other rooms show to the config: names, help and the options each row takes. Config imports none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Row(Protocol):
    """One row of a registry. A row may also have `aliases`, a tuple of other names for it."""

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...


class OptionRow(Row, Protocol):
    """A row with options: a dataclass type whose fields are their names, types and defaults."""

    @property
    def options(self) -> type: ...


AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class Rows:
    """All registries that settings refer to, handed over by the command line."""

    methods: Sequence[OptionRow]
    optimizers: Sequence[OptionRow]
    schedulers: Sequence[Row]
    samplers: Sequence[Row]
    families: Sequence[Row]

    def of(self, registry: str) -> Sequence[Row]:
        """The registry that `Meta.rows` names; empty for no name."""
        tables: dict[str, Sequence[Row]] = {
            "": (),
            "methods": self.methods,
            "optimizers": self.optimizers,
            "schedulers": self.schedulers,
            "samplers": self.samplers,
            "families": self.families,
        }
        return tables[registry]


def names(row: Row) -> tuple[str, ...]:
    """Everything a row is called, its own name first."""
    return (row.name, *getattr(row, "aliases", ()))


def find(rows: Sequence[AnyRow], name: str) -> AnyRow | None:
    """The row of that name or alias, capitals aside; None where there is none."""
    for row in rows:
        if name.lower() in (known.lower() for known in names(row)):
            return row
    return None
