"""The scores of pictures, kept for later runs.

One SQLite file, by the picture's content and by the tagger. So a run with other thresholds needs no model, a stopped one loses nothing, and
`captions` can ask for a tag's score.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.errors import UserError
from engine.taggers.labels import Labels
from engine.taggers.models import ONE_OF
from engine.taggers.words import normal

FLOOR = 0.01  # smaller scores are not kept, but for categories of which the best counts
FILE = "tagger_scores.sqlite3"
_FORMAT = 1  # raise it when a column's meaning changes: the file is then made anew
_TABLES = {
    "taggers": "(key TEXT PRIMARY KEY, name TEXT, labels TEXT, time REAL)",
    "scores": "(tagger TEXT, picture TEXT, numbers BLOB, PRIMARY KEY (tagger, picture)) WITHOUT ROWID",
}
_CHUNK, _SECONDS = 64, 5.0  # pictures, and their age, at which they are written


class Scores:
    """The file of one cache folder. Use as a context manager; several threads may."""

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._new: list[tuple[object, ...]] = []
        self._since = time.monotonic()
        with files.explained(self._path):
            folder.mkdir(parents=True, exist_ok=True)
        self._base = self._open()

    def __enter__(self) -> Scores:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.commit()
        finally:
            self._base.close()

    def tagger(self, model: str, name: str, labels: Labels) -> None:
        """Remember what the numbers of a tagger mean, and that it is the newest in use."""
        names = json.dumps(labels.names, ensure_ascii=False)
        self._write("INSERT OR REPLACE INTO taggers VALUES (?, ?, ?, ?)", [(model, name, names, time.time())])

    def get(self, model: str, picture: str, count: int) -> NDArray[np.float32] | None:
        """A picture's scores, `count` of them, those below FLOOR as 0; None where they are not known."""
        with self._lock:
            found = self._base.execute("SELECT numbers FROM scores WHERE tagger = ? AND picture = ?", (model, picture)).fetchone()
        return None if found is None else _unpacked(found[0], count)

    def put(self, model: str, picture: str, scores: NDArray[np.float32], always: NDArray[np.bool_]) -> None:
        """Keep a picture's scores; `always` says which are kept however small they are."""
        self._new.append((model, picture, _packed(scores, always)))
        if len(self._new) >= _CHUNK or time.monotonic() - self._since > _SECONDS:
            self.commit()

    def commit(self) -> None:
        """Have what was put on the disk; between two calls nothing is locked. Raises UserError where the disk refuses."""
        new, self._new = self._new, []
        self._since = time.monotonic()
        if new:
            self._write("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", new)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._lock, self._base:
                self._base.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def known(self, tagger: str = "") -> list[tuple[str, list[str]]]:
        """The taggers that have scores here, the last used first: their keys and the names of their labels. `tagger`: only of that name."""
        rows = self._base.execute("SELECT key, name, labels FROM taggers ORDER BY time DESC").fetchall()
        return [(model, json.loads(labels)) for model, name, labels in rows if tagger in ("", name)]

    def _open(self) -> sqlite3.Connection:
        """The file, made anew where it is damaged or of another format. Raises UserError where the disk refuses."""
        try:
            try:
                return _prepared(self._path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, read-only, full: nothing is wrong with its content
                    raise
                self.notes.append(f"{self._path}: it was damaged ({error}); the scores of earlier runs are computed again")
                self._path.unlink()
                return _prepared(self._path)
        except (sqlite3.OperationalError, OSError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> UserError:
        hint = "choose another --cache_dir, free some space, or end the other run that uses it"
        return UserError(f"the scores cannot be kept ({error})", hint, where=str(self._path))


def _prepared(path: Path) -> sqlite3.Connection:
    """The file with tables of today's format in it."""
    base = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        base.execute("BEGIN IMMEDIATE")  # another run that makes the tables now is waited for, and has made them then
        if base.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
            for name, columns in _TABLES.items():
                base.execute(f"DROP TABLE IF EXISTS {name}")
                base.execute(f"CREATE TABLE {name} {columns}")
            base.execute(f"PRAGMA user_version = {_FORMAT}")
        base.commit()
        base.execute("SELECT count(*) FROM taggers").fetchone()
    except sqlite3.Error:
        base.close()
        raise
    return base


def scores(pictures: Sequence[Path], cache: Path, tagger: str = "") -> dict[Path, dict[str, float]]:
    """The scores of pictures by tag, as the last tagger that looked at each gave them; a tag is written as `words.normal` has it.

    `tagger`: only of the one of that name. A picture that none has looked at is left out, and so are scores below FLOOR.
    """
    if not (cache / FILE).is_file():
        return {}
    found: dict[Path, dict[str, float]] = {}
    with Scores(cache) as kept:
        taggers = [(model, [normal(name) for name in names]) for model, names in kept.known(tagger)]
        for picture in pictures:
            with files.reading(picture):
                digest = files.sha256(picture)
            for model, names in taggers:
                numbers = kept.get(model, digest, len(names))
                if numbers is not None:
                    found[picture] = {names[place]: float(numbers[place]) for place in np.flatnonzero(numbers) if names[place]}
                    break
    return found


def always_kept(labels: Labels) -> NDArray[np.bool_]:
    """Which scores are kept however small they are."""
    return np.array([category in ONE_OF for category in labels.categories], dtype=np.bool_)


def _packed(scores: NDArray[np.float32], always: NDArray[np.bool_]) -> bytes:
    """Those scores that are kept: their numbers, then their values."""
    places = np.flatnonzero((scores >= FLOOR) | always).astype("<u4")
    return places.tobytes() + scores[places].astype("<f4").tobytes()


def _unpacked(data: bytes, count: int) -> NDArray[np.float32] | None:
    """All scores again; None where they are no such bytes."""
    half = len(data) // 2
    places = np.frombuffer(data[:half], dtype="<u4") if len(data) % 8 == 0 else np.array([count], dtype="<u4")
    if len(places) and places.max() >= count:
        return None
    scores = np.zeros(count, np.float32)
    scores[places] = np.frombuffer(data[half:], dtype="<f4")
    return scores
