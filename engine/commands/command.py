"""What a command is, and how its words are read. Options are fields of a dataclass, described as settings are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.errors import UserError

if TYPE_CHECKING:  # the list of all commands needs nothing of these
    from engine.config.handover import Script
    from engine.config.keys import Key
    from engine.config.known import Known
    from engine.config.load import Loaded
    from engine.config.sources import Source

Options = TypeVar("Options")


@dataclass(frozen=True)
class NoOptions:
    """A command that has none but the settings."""


def _none() -> Sequence[tuple[str, str]]:
    return ()


def _nothing(options: Any, given: Sequence[Source]) -> tuple[Source, ...]:
    return ()


@dataclass(frozen=True)
class Command(Generic[Options]):
    """One command.

    `example` is typed behind `python -m engine`. `options` is a frozen dataclass of `setting(...)` fields, `run` gives the exit status.
    `settings`: it takes the settings of a run too; without them `run` gets their defaults. `bare` names the option or setting that a path
    means which stands alone. `needs` are settings and options that it cannot do without. `below` gives sources of settings that lie below
    those of the command line, by the options and the sources that were given. `actions` are what its first word may be: how each is
    written, and what it does.
    """

    name: str
    help: str
    example: str
    options: type[Options]
    run: Callable[[Options, Loaded], int]
    settings: bool = False
    bare: str = ""
    needs: tuple[str, ...] = ()
    below: Callable[[Options, Sequence[Source]], Sequence[Source]] = _nothing
    actions: Callable[[], Sequence[tuple[str, str]]] = _none

    def own(self) -> tuple[Key, ...]:
        """Its own options."""
        from engine.config.keys import keys_of

        return keys_of(self.options)

    def known(self) -> Known:
        """Every option that it takes."""
        from engine.config.known import known

        return known(self.options, settings=self.settings, bare=self.bare)

    def bare_key(self) -> Key | None:
        """The option or setting that a path means which stands alone."""
        from engine.config.keys import run_keys

        return {**run_keys(), **self.known().own}[self.bare] if self.bare else None

    def read(self, words: Sequence[str], script: Script | None = None) -> tuple[Options, Loaded]:
        """Options and settings of a command line, and of the front script that called. Raises ConfigError with every problem."""
        from engine.config import flags
        from engine.config.keys import run_keys
        from engine.config.load import Loaded
        from engine.config.problems import ConfigError
        from engine.config.schema import Config

        line = flags.split(words, self.known(), script)
        options = self.options(**line.own)
        if not self.settings:
            if line.problems:
                raise ConfigError(line.problems, "in the options")
            self._require(line.own)
            return options, Loaded(Config(), {}, ())
        loaded = _load((*self.below(options, line.sources), *line.sources), [name for name in self.needs if name in run_keys()])
        self._require(line.own)
        return options, loaded

    def _require(self, given: Mapping[str, object]) -> None:
        """Raise UserError where an option of its own is lacking that it cannot do without."""
        for key in self.own():
            if key.name in self.needs and key.name not in given:
                raise UserError(f"`{self.name}` needs {key.behind}: {key.meta.help}", f"python -m engine {self.example}")


def settings(words: Sequence[str]) -> Loaded:
    """The settings that words alone give, for a command that makes a run of its own."""
    from engine.config import flags

    return _load(flags.split(words).sources)


def _load(sources: Sequence[Source], required: Sequence[str] = ()) -> Loaded:
    from engine import registries
    from engine.config.load import load

    return load(sources, registries.rows(), required)


def say(text: str) -> None:
    """A line, or several, for the person at the screen."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
