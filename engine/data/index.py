"""What is known of each picture file without opening it again. That is its size, content hash and a thumbnail, or what is wrong with it.

Kept in one SQLite file beside the caches and keyed by path, file size and time, so that a second look at 1,000 pictures takes a moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from engine.data import decode
from engine.errors import UserError

THUMBNAIL = 192  # pixels, the longer side
_FORMAT = 2  # raise it when a column's meaning changes: the index is then made anew
_TABLE = (
    "CREATE TABLE pictures (path TEXT PRIMARY KEY, bytes INTEGER, time INTEGER, width INTEGER, height INTEGER, digest TEXT,"
    " traits TEXT, problem TEXT, hint TEXT, thumbnail BLOB)"
)
_CHUNK = 64  # pictures between two commits: what an interrupted first look loses


@dataclass(frozen=True)
class Record:
    """One picture file. `size` is in pixels, upright; `problem` is empty for a sound picture."""

    size: tuple[int, int]
    digest: str  # SHA-256 of the file
    traits: tuple[str, ...]
    problem: str = ""
    hint: str = ""


_Row = tuple[str, int, int, int, int, str, str, str, str, bytes]


class Index:
    """The index of one cache folder; `folder` None keeps it in memory. Use as a context manager, in one thread."""

    def __init__(self, folder: Path | None) -> None:
        self.notes: list[str] = []
        self._path = folder / "index.sqlite3" if folder else None
        self._base = self._open()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def look(
        self, pictures: Iterable[Path], *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> dict[Path, Record]:
        """A record for every picture; files that are new or changed are read in threads. Missing files get a problem."""
        paths = list(dict.fromkeys(pictures))
        names = {path: os.path.abspath(path) for path in paths}
        marks = {path: _mark(path) for path in paths}
        known = self._known([names[path] for path in paths])
        records = {path: _record(known[name]) for path, name in names.items() if name in known and _holds(known[name], marks[path])}
        fresh = [path for path in paths if path not in records]
        if fresh:
            report = progress or (lambda done, total: None)
            with decode.threads(workers) as pool:
                rows = pool.map(lambda path: _read(path, names[path], marks[path]), fresh)
                for done, (path, row) in enumerate(zip(fresh, rows, strict=True), 1):
                    records[path] = _record(row)
                    self._keep(row, commit=done % _CHUNK == 0 or done == len(fresh))
                    report(done, len(fresh))
        return {path: records[path] for path in paths}

    def forget(self, pictures: Iterable[Path]) -> None:
        """Read these pictures again at the next look, even where size and time are what they were. Raises UserError."""
        try:
            self._base.executemany("DELETE FROM pictures WHERE path = ?", [(os.path.abspath(path),) for path in pictures])
            self._base.commit()
        except sqlite3.OperationalError as error:
            raise self._refused(error) from error

    def thumbnails(self, pictures: Sequence[Path]) -> dict[Path, bytes]:
        """JPEG bytes of pictures that were looked at; unreadable ones are left out."""
        names = {os.path.abspath(path): path for path in pictures}
        found = self._select("path, thumbnail", list(names))
        return {names[name]: thumbnail for name, thumbnail in found if thumbnail}

    def _known(self, names: Sequence[str]) -> dict[str, _Row]:
        """The rows of these absolute paths, without their thumbnails."""
        columns = "path, bytes, time, width, height, digest, traits, problem, hint, x''"
        return {row[0]: row for row in self._select(columns, names)}

    def _select(self, columns: str, names: Sequence[str]) -> Iterator[tuple]:  # type: ignore[type-arg]
        """Rows of these paths, some hundred names a query (SQLite bounds the number of parameters)."""
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            marks = ",".join("?" * len(part))
            yield from self._base.execute(f"SELECT {columns} FROM pictures WHERE path IN ({marks})", part)  # noqa: S608

    def _keep(self, row: _Row, commit: bool) -> None:
        """Store a row. Raises UserError where the disk refuses."""
        try:
            self._base.execute("INSERT OR REPLACE INTO pictures VALUES (?,?,?,?,?,?,?,?,?,?)", row)
            if commit:
                self._base.commit()
        except sqlite3.OperationalError as error:
            raise self._refused(error) from error

    def _open(self) -> sqlite3.Connection:
        """Open the file, made anew where it is damaged or of another format."""
        try:
            if self._path is None:
                return self._prepared(sqlite3.connect(":memory:"))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._prepared(sqlite3.connect(self._path, timeout=30))
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, read-only, full: nothing is wrong with its content
                    raise
                self.notes.append(f"{self._path}: the picture index was damaged ({error}); it is made again")
                self._path.unlink()
                return self._prepared(sqlite3.connect(self._path, timeout=30))
        except (sqlite3.OperationalError, OSError) as error:
            raise self._refused(error) from error

    @staticmethod
    def _prepared(base: sqlite3.Connection) -> sqlite3.Connection:
        """The connection with a table of today's format in it."""
        try:
            if not _is_todays(base):
                base.execute("BEGIN IMMEDIATE")  # another run that makes the table now is waited for, and has made it then
                if not _is_todays(base):
                    base.execute("DROP TABLE IF EXISTS pictures")
                    base.execute(_TABLE)
                    base.execute(f"PRAGMA user_version = {_FORMAT}")
                base.commit()
            base.execute("SELECT count(*) FROM pictures").fetchone()
        except sqlite3.Error:
            base.close()
            raise
        return base

    def _refused(self, error: Exception) -> UserError:
        """A failure to write as something a person can act on."""
        return UserError(
            f"the picture index cannot be written ({error})",
            "choose another `cache_dir`, free some space, or close the other run that uses it",
            where=str(self._path or ""),
        )


def _is_todays(base: sqlite3.Connection) -> bool:
    return bool(base.execute("PRAGMA user_version").fetchone()[0] == _FORMAT)


def _mark(path: Path) -> tuple[int, int]:
    """File size in bytes and time in nanoseconds; (-1, 0) for a file that is not there."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_size, stat.st_mtime_ns
    return -1, 0


def _holds(row: _Row, mark: tuple[int, int]) -> bool:
    """Whether a row still tells the truth. A file that could not be opened (no digest) is tried again: rights change without its time."""
    return row[1:3] == mark and bool(row[5])


def _record(row: _Row) -> Record:
    """A row as the rest of the room sees it."""
    _, _, _, width, height, digest, traits, problem, hint, _ = row
    return Record((width, height), digest, tuple(traits.split(",")) if traits else (), problem, hint)


def _read(path: Path, name: str, mark: tuple[int, int]) -> _Row:
    """Read, hash and decode one file."""
    digest = ""
    try:
        raw = decode.read(path)
        digest = hashlib.sha256(raw).hexdigest()
        decoded = decode.decode(raw, draft=THUMBNAIL)
    except decode.Unreadable as error:
        return (name, *mark, 0, 0, digest, "", error.message, error.hint, b"")
    small = decoded.image
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=78)
    return (name, *mark, *decoded.size, digest, ",".join(decoded.traits), "", "", out.getvalue())
