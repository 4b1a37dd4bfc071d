"""The one exception that a user may cause, and how it is shown.

Also what its sentences are made with: numbers of things, names that are near, what another exception says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Row(Protocol):
    """One row of a table that settings choose from. A row may also have `aliases`, a tuple of other names for it."""

    @property
    def name(self) -> str: ...


AnyRow = TypeVar("AnyRow", bound=Row)


class UserError(Exception):
    """A mistake the user can mend: what happened, where, and what to do about it.

    `message` is one or two sentences and names the value; `where` is a file, `file:line` or an option; `hint` is the remedy.
    Shown without a traceback; every other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str, hint: str = "", *, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\nhint: {self.hint}" if self.hint else text


def cause(error: BaseException, most: int = 200) -> str:
    """What another exception says, in a line of at most `most` characters: its kind, and the first line that says something.

    >>> cause(OSError("\\n  DLL load failed  \\nmore of it"))
    'OSError: DLL load failed'
    """
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return line if len(line) <= most else f"{line[: most - 3]}..."


def fault(use: Callable[[], object]) -> str:
    """What `use` raises, of whatever kind, in a line; nothing where it works. For what foreign libraries, drivers and cards may raise."""
    try:
        use()
    except Exception as error:  # noqa: BLE001
        return cause(error)
    return ""


def nearest(word: str, known: list[str] | tuple[str, ...], count: int = 1) -> list[str]:
    """The valid names closest to `word`, best first; empty where nothing is near.

    >>> nearest("learing_rate", ["learning_rate", "unet_lr"])
    ['learning_rate']
    """
    import difflib

    return difflib.get_close_matches(word, known, n=count, cutoff=0.6)


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """A sentence naming the closest valid names, or an empty string.

    >>> did_you_mean("eulr", ["euler", "ddim"])
    'Did you mean `euler`?'
    """
    close = nearest(word, known)
    return f"Did you mean `{close[0]}`?" if close else ""


def names(row: Row) -> tuple[str, ...]:
    """Everything a row is called, its own name first."""
    return (row.name, *getattr(row, "aliases", ()))


def row_named(rows: Sequence[AnyRow], name: str) -> AnyRow | None:
    """The row of that name or alias, capitals aside; None where there is none."""
    return next((row for row in rows if name.lower() in (known.lower() for known in names(row))), None)


def find_row(rows: Sequence[AnyRow], name: str, kind: str, where: str) -> AnyRow:
    """The row of that name or alias, capitals aside. Raises UserError, with the nearest name, where there is none.

    `kind` says what the rows are; `where` is the setting that names one.
    """
    found = row_named(rows, name)
    if found is None:
        known = [known for row in rows for known in names(row)]
        raise UserError(f"there is no {kind} `{name}`", did_you_mean(name, known) or f"choose one of {', '.join(known)}", where=where)
    return found


def plural(count: int, word: str) -> str:
    """`1 step`, `2 steps`, `1,600 steps`.

    >>> plural(1, "step"), plural(1600, "step")
    ('1 step', '1,600 steps')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"
