"""Changes of caption files: all of them are made, or none.

The steps of a transaction, in each folder that it changes:

1. The new files, which are flushed, and copies of the old ones are written into the journal's folder. A full disk shows here.
2. The entry is written, as pending.
3. The files are moved into place.
4. The entry of the first folder is finished: from here on the transaction counts. Then those of the other folders.

What goes wrong in steps 1 to 3 is taken back at once. A process that was killed leaves a pending entry, and `recover`, which every
transaction begins with, takes it back or finishes it. Taking back moves the copies, so that it needs no space on a disk.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from engine import files
from engine.errors import UserError
from engine.tools.captions import journal
from engine.tools.captions.journal import Entry, FileChange, bytes_of, entry_file, hash_of

_THREADS = 16  # a disk flushes several files in hardly more time than one


@dataclass(frozen=True)
class Change:
    """One file: its bytes as they were read, and those that it shall have. None: there is, or shall be, no such file."""

    path: Path
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True)
class Applied:
    """What was done: the run in the journal, and the files, in the order of the changes."""

    run: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class _Part:
    """A transaction's part in one folder."""

    folder: Path
    changes: tuple[Change, ...]
    entry: Entry

    @property
    def pending(self) -> Path:
        return entry_file(self.folder, self.entry.number, ".pending")

    @property
    def finished(self) -> Path:
        return entry_file(self.folder, self.entry.number)


def apply(
    changes: Sequence[Change], command: str, *, run: str = "", goes_on: bool = False, undoes: Sequence[str] = (), also: Sequence[Path] = ()
) -> Applied:
    """Make all of these changes, in as many folders as they lie in, or none of them. `command` is what the journal says of them.

    A change that changes nothing is left out. Raises UserError where a file is no longer as it was read, where a folder cannot be written
    to, and where the disk is full; the files are then as before. `run`, `goes_on` and `undoes` are those of an `Entry`; `also` are folders
    that get an entry although no file in them changes.
    """
    wanted = [change for change in changes if change.before != change.after]
    by_folder: dict[Path, list[Change]] = {folder: [] for folder in also}
    for change in wanted:
        by_folder.setdefault(change.path.parent, []).append(change)
    assert len({change.path for change in wanted}) == len(wanted), "a file stands twice in one transaction"
    run = run or new_run()
    with _holding(sorted(by_folder)):
        entry = Entry(0, run, command, _now(), (), undoes=tuple(undoes), goes_on=goes_on)
        parts: list[_Part] = []
        for folder, ours in by_folder.items():
            changed = tuple(FileChange(change.path.name, change.before, hash_of(change.after)) for change in ours)
            leader = _seen_from(folder, parts[0].finished) if parts else ""
            numbered = replace(entry, number=journal.next_number(folder), files=changed, leader=leader)
            parts.append(_Part(folder, tuple(ours), numbered))
        _make(parts)
    return Applied(run, tuple(change.path for change in wanted))


def recover(folders: Sequence[Path]) -> None:
    """Take back, or finish, what a killed process left half done in these folders. Nothing is written where there is nothing of it."""
    with _holding(sorted(folder for folder in set(folders) if journal.is_unfinished(folder))):
        pass


class Run:
    """A command that writes as it goes, such as `tag`: all that it writes is one run in the journal, and undone together.

    One that was stopped is continued by the next of the same command on these folders, until `finish`.
    """

    def __init__(self, folders: Sequence[Path], command: str) -> None:
        recover(folders)
        self.folders = tuple(folders)
        self.command = command
        stopped = [(last.when, last.run) for folder in folders if (last := _last(folder)) and last.goes_on and last.command == command]
        self.continued = bool(stopped)
        self.id = max(stopped)[1] if stopped else new_run()

    def write(self, changes: Sequence[Change]) -> Applied:
        """As `apply`, under this run."""
        return apply(changes, self.command, run=self.id, goes_on=True)

    def finish(self) -> None:
        """Say that the run has come to its end, so that the next one is another."""
        for folder in self.folders:
            last = _last(folder)
            if last is not None and last.run == self.id and last.goes_on:
                with journal.held(folder):
                    journal.write(entry_file(folder, last.number), replace(last, goes_on=False))


def new_run() -> str:
    """A name that no other run has."""
    return secrets.token_hex(8)


def _last(folder: Path) -> Entry | None:
    """The newest entry of a folder."""
    number = journal.next_number(folder) - 1
    return journal.read(entry_file(folder, number)) if number else None


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


def _seen_from(folder: Path, path: Path) -> str:
    """A path as seen from a folder, so that both can be moved together; the whole path where they are on two drives."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


@contextlib.contextmanager
def _holding(folders: Sequence[Path]) -> Iterator[None]:
    """Hold the journals of these folders, each mended first. One that is empty afterwards is taken away again."""
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.callback(_remove_if_empty, folder)
            stack.enter_context(journal.held(folder))
            _mend(folder)
        yield


def _remove_if_empty(folder: Path) -> None:
    """Take away a journal without an entry: of a transaction that failed."""
    with contextlib.suppress(OSError):
        if os.listdir(journal.place(folder)) == ["lock"]:
            (journal.place(folder) / "lock").unlink()
            journal.place(folder).rmdir()


def _make(parts: Sequence[_Part]) -> None:
    """Steps 1 to 4."""
    try:
        for part in parts:
            _stage(part)
        for part in parts:
            journal.write(part.pending, part.entry)
        for part in parts:
            _move(part)
        if parts:
            files.replace(parts[0].pending, parts[0].finished)
    except BaseException:
        if parts[0].finished.is_file():  # Ctrl-C came just then
            _finish(parts)
        else:
            for part in parts:
                _take_back(part.folder, part.entry)
        raise
    _finish(parts)


def _finish(parts: Sequence[_Part]) -> None:
    """The end of step 4. The transaction counts already: whatever cannot be done now is done the next time."""
    with contextlib.suppress(OSError, UserError):
        for part in parts[1:]:
            files.replace(part.pending, part.finished)
        for part in parts:
            _remove_staged(part.folder, part.entry.number)


def _stage(part: _Part) -> None:
    """Step 1. Raises UserError where a file is no longer as it was read."""
    staged = entry_file(part.folder, part.entry.number, ".staged")
    with files.explained(staged):
        staged.mkdir(exist_ok=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(_stage_one, range(len(part.changes)), part.changes, [staged] * len(part.changes)):
            pass


def _stage_one(place: int, change: Change, staged: Path) -> None:
    """One file of step 1."""
    if bytes_of(change.path) != change.before:
        hint = "run the command again, while no other program changes the captions"
        raise UserError("this caption was changed by another program; no caption was written", hint, where=str(change.path))
    with files.explained(change.path):
        if change.before is not None:
            _write(staged / f"{place}.old", change.before, change.path, flush=False)  # the entry has these bytes too
        if change.after is not None:
            _write(staged / f"{place}.new", change.after, change.path, flush=True)


def _write(staged: Path, data: bytes, target: Path, *, flush: bool) -> None:
    """A staged file, with the rights of the file that it stands for; flushed to the disk where it must outlast a power cut."""
    with open(staged, "wb") as handle:
        handle.write(data)
        if flush:
            handle.flush()
            os.fsync(handle.fileno())
    if os.name != "nt":  # whose only right is read-only, which would keep this file from being moved
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, staged)


def _move(part: _Part) -> None:
    """Step 3."""
    staged = entry_file(part.folder, part.entry.number, ".staged")
    for place, change in enumerate(part.changes):
        if change.after is not None:
            files.replace(staged / f"{place}.new", change.path)
        else:
            with files.explained(change.path):
                change.path.unlink()


def _mend(folder: Path) -> None:
    """Take back or finish every pending entry, and take away what else was left."""
    for path in reversed(journal.pending(folder)):
        entry = journal.read(path)
        leader = folder / entry.leader
        if entry.leader and leader.is_file() and journal.read(leader).run == entry.run:
            files.replace(path, entry_file(folder, entry.number))
        else:
            _take_back(folder, entry)
    with files.explained(journal.place(folder)):
        for left in os.listdir(journal.place(folder)):
            if left.endswith(".staged"):
                shutil.rmtree(journal.place(folder) / left)
            elif left.endswith(".part"):
                (journal.place(folder) / left).unlink()


def _take_back(folder: Path, entry: Entry) -> None:
    """Every file as it was before, then no entry. A file that is neither as before nor as after is somebody else's work, and left."""
    staged = entry_file(folder, entry.number, ".staged")
    if (pending := entry_file(folder, entry.number, ".pending")).is_file():
        for place, one in enumerate(entry.files):
            path, copy = folder / one.name, staged / f"{place}.old"
            if hash_of(bytes_of(path)) != one.after:
                continue
            if one.before is None:
                with files.explained(path):
                    path.unlink()
            elif bytes_of(copy) == one.before:
                files.replace(copy, path)
            else:
                files.write_bytes(path, one.before)
        with files.explained(pending):
            pending.unlink()
    _remove_staged(folder, entry.number)


def _remove_staged(folder: Path, number: int) -> None:
    """Take away what an entry needed while it was under way."""
    shutil.rmtree(entry_file(folder, number, ".staged"), ignore_errors=True)
