"""Undoing: which bytes a folder's files get back, by its journal.

The last run that is not undone, or all of them. A file that differs from what the journal says of it is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.tools.captions import journal, transaction
from engine.tools.captions.journal import Entry, FileChange, bytes_of, hash_of
from engine.tools.captions.transaction import Change


@dataclass(frozen=True)
class Undoing:
    """What undoing would do: the changes, the files that are left because they differ, and the runs that are undone by it."""

    changes: tuple[Change, ...] = ()
    left: tuple[Path, ...] = ()
    runs: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()  # where these have entries
    command: str = ""  # that the last of them was
    when: str = ""

    def apply(self) -> None:
        """Do it. The files that are left do not come up again with the next undoing of one run."""
        if self.runs or self.changes:
            transaction.apply(self.changes, "undo", undoes=self.runs or (transaction.new_run(),), also=self.folders)


def last(folders: Sequence[Path]) -> Undoing:
    """Undoing the last run in these folders that is not undone yet; without changes and runs where there is none."""
    found = [(folder, _standing(journal.entries(folder))) for folder in folders]
    newest = max((standing[-1] for _, standing in found if standing), key=lambda entry: entry.when, default=None)
    if newest is None:
        return Undoing()
    states = [
        (folder / name, state)
        for folder, standing in found
        for name, state in _states([entry for entry in standing if entry.run == newest.run]).items()
    ]
    having = tuple(folder for folder, standing in found if any(entry.run == newest.run for entry in standing))
    return _undoing(states, (newest.run,), having, newest)


def everything(folders: Sequence[Path]) -> Undoing:
    """Undoing all: each file gets the bytes that it had before the first run that changed it."""
    found = [(folder, journal.entries(folder)) for folder in folders]
    states = [(folder / name, state) for folder, known in found for name, state in _states(known).items()]
    standing = [entry for _, known in found for entry in _standing(known)]
    having = tuple(folder for folder, known in found if _standing(known))
    newest = max(standing, key=lambda entry: entry.when, default=None)
    return _undoing(states, tuple(dict.fromkeys(entry.run for entry in standing)), having, newest)


def _standing(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that change something and are not undone."""
    undone = {run for entry in entries for run in entry.undoes}
    return [entry for entry in entries if not entry.undoes and entry.run not in undone]


def _states(entries: Sequence[Entry]) -> dict[str, FileChange]:
    """Each file before the first of these entries and after the last. One that is back where it was begins anew with the next."""
    states: dict[str, FileChange] = {}
    for entry in entries:
        for one in entry.files:
            first = states.get(one.name)
            begins = first is None or hash_of(first.before) == first.after
            states[one.name] = one if first is None or begins else FileChange(one.name, first.before, one.after)
    return {name: one for name, one in states.items() if hash_of(one.before) != one.after}


def _undoing(states: Sequence[tuple[Path, FileChange]], runs: tuple[str, ...], folders: tuple[Path, ...], newest: Entry | None) -> Undoing:
    """The changes that bring the files back, where they are as the journal says."""
    changes, left = [], []
    for path, state in states:
        now = bytes_of(path)
        if hash_of(now) == state.after:
            changes.append(Change(path, now, state.before))
        elif now != state.before:
            left.append(path)
    return Undoing(tuple(changes), tuple(left), runs, folders, newest.command if newest else "", newest.when if newest else "")
