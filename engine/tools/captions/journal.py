"""The journal of a folder's captions: what was changed, and when.

It lies in `.captions` beside the pictures, an entry a file: `000001.json`. An entry holds each file's bytes before and its hash after.
No entry is ever taken away; undoing adds one too. `transaction.py` writes them, `undo.py` reads them backwards.

An entry under way is called `000001.pending`, and what it needs lies in `000001.staged`. Files that a killed process left so are what
`transaction.recover` mends.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.data.folder import JOURNAL
from engine.errors import UserError

_LARGE = 200 << 20  # bytes of a folder's journal from which on its size is told
_LOCK = "lock"
_KEYS = {"run", "command", "when", "leader", "undoes", "goes_on", "files"}


@dataclass(frozen=True)
class FileChange:
    """One file of an entry: its bytes before, and its hash after. None: there was, or is, no such file."""

    name: str
    before: bytes | None
    after: str | None


@dataclass(frozen=True)
class Entry:
    """What one transaction changed in one folder.

    `run` is the same for all entries of a command: in several folders, and of one that writes as it goes. `leader` is the path of the entry
    whose being finished decides over all of a transaction, seen from the folder; empty where that is this one. `undoes` are runs.
    `goes_on`: the run was under way, so that one that was stopped can be continued.
    """

    number: int
    run: str
    command: str
    when: str
    files: tuple[FileChange, ...]
    leader: str = ""
    undoes: tuple[str, ...] = ()
    goes_on: bool = False


def place(folder: Path) -> Path:
    """Where the journal of a folder of pictures lies."""
    return folder / JOURNAL


def entry_file(folder: Path, number: int, ending: str = ".json") -> Path:
    """The file of an entry, or what belongs to it while it is under way."""
    return place(folder) / f"{number:06d}{ending}"


def entries(folder: Path) -> list[Entry]:
    """All finished entries of a folder, oldest first. Raises UserError where one is damaged."""
    return [read(path) for path in _named(folder, ".json")]


def pending(folder: Path) -> list[Path]:
    """The entries that a killed process left under way."""
    return _named(folder, ".pending")


def is_unfinished(folder: Path) -> bool:
    """Whether a process was killed while it wrote here, or writes now."""
    return any(not name.endswith(".json") and name != _LOCK for name in _listed(folder))


def next_number(folder: Path) -> int:
    """The number of the next entry."""
    return max((int(path.stem) for path in (*_named(folder, ".json"), *pending(folder))), default=0) + 1


def size(folder: Path) -> int:
    """The bytes of a folder's journal."""
    return sum(path.stat().st_size for path in _named(folder, ".json"))


def told_size(folders: Sequence[Path]) -> list[str]:
    """A line on each journal that has become large. All is kept, so whoever wants the space deletes the folder."""
    sizes = [(folder, size(folder)) for folder in folders]
    return [
        f"note: {place(folder)} has {taken / 2**20:,.0f} MiB of earlier captions; delete it if nothing is to be undone any more"
        for folder, taken in sizes
        if taken > _LARGE
    ]


def read(path: Path) -> Entry:
    """One entry. Raises UserError where it cannot be read."""
    with files.reading(path):
        raw = path.read_bytes()
    try:
        given = json.loads(raw)
        changed = tuple(
            FileChange(str(one["name"]), None if one["before"] is None else base64.b64decode(one["before"], validate=True), one["after"])
            for one in given["files"]
        )
        if set(given) != _KEYS or any(os.path.basename(one.name) != one.name or one.name in ("", ".", "..") for one in changed):
            raise ValueError("not as entries are")
    except (ValueError, KeyError, TypeError) as error:
        hint = f"restore it from a copy, or take {path.parent} away if nothing is to be undone any more"
        raise UserError("this entry of the journal of captions is damaged", hint, where=str(path)) from error
    return Entry(
        int(path.stem), given["run"], given["command"], given["when"], changed,
        leader=given["leader"], undoes=tuple(given["undoes"]), goes_on=given["goes_on"],
    )  # fmt: skip


def write(path: Path, entry: Entry) -> None:
    """Write an entry, whole or not at all."""
    changed = [
        {"name": one.name, "before": None if one.before is None else base64.b64encode(one.before).decode("ascii"), "after": one.after}
        for one in entry.files
    ]
    given = {
        "run": entry.run, "command": entry.command, "when": entry.when, "leader": entry.leader, "undoes": entry.undoes,
        "goes_on": entry.goes_on, "files": changed,
    }  # fmt: skip
    files.write_json(path, given)


def hash_of(data: bytes | None) -> str | None:
    """The hash that an entry keeps of a file; None for no file."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def bytes_of(path: Path) -> bytes | None:
    """A file's bytes; None where there is no such file."""
    with files.reading(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the journal of a folder for this process. Raises UserError where another has it; a killed process holds nothing."""
    path = place(folder) / _LOCK
    if files.is_there(path.parent) and not path.parent.is_dir():
        raise UserError("the journal of captions is a folder, and this is a file", "rename it or take it away", where=str(path.parent))
    with files.explained(path):
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with open(descriptor, "rb") as handle:
        if not _locked(handle.fileno()):
            hint = "wait until it has ended, or stop it"
            raise UserError("another command is changing the captions of this folder", hint, where=str(folder))
        yield


def _named(folder: Path, ending: str) -> list[Path]:
    """The journal's files with that ending, by number."""
    return [place(folder) / name for name in _listed(folder) if name.endswith(ending) and name.removesuffix(ending).isdecimal()]


def _listed(folder: Path) -> list[str]:
    """The names in the journal's folder, sorted; none where there is no such folder."""
    with files.reading(place(folder)):
        try:
            return sorted(os.listdir(place(folder)))
        except FileNotFoundError:
            return []


def _locked(descriptor: int) -> bool:
    """Lock an open file as long as it is open; no where another process has it. A disk of Linux that knows no locks locks nothing."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:  # Wine gives no number with it
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
