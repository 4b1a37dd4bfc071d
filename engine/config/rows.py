"""What the config sees of the other rooms' registries. Names, help and the options each row takes. Config imports none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.errors import Row


class HelpRow(Row, Protocol):
    """A row with one line of help."""

    @property
    def help(self) -> str: ...


class OptionRow(HelpRow, Protocol):
    """A row with options: a dataclass type whose fields are their names, types and defaults."""

    @property
    def options(self) -> type: ...


@dataclass(frozen=True)
class Rows:
    """All registries that settings refer to, handed over by the command line."""

    methods: Sequence[OptionRow]
    optimizers: Sequence[OptionRow]
    schedulers: Sequence[HelpRow]
    samplers: Sequence[HelpRow]
    families: Sequence[HelpRow]

    def of(self, registry: str) -> Sequence[HelpRow]:
        """The registry that `Meta.rows` names; empty for no name."""
        tables: dict[str, Sequence[HelpRow]] = {
            "": (),
            "methods": self.methods,
            "optimizers": self.optimizers,
            "schedulers": self.schedulers,
            "samplers": self.samplers,
            "families": self.families,
        }
        return tables[registry]
