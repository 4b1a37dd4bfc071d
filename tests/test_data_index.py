"""The picture index: read once, kept, noticed when a file changes, made again when damaged."""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import pytest
from PIL import Image

from engine.data import decode, index
from engine.data.index import THUMBNAIL, Index
from engine.errors import UserError

Make = Callable[..., list[Path]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every picture that is decoded."""
    counted: list[int] = []
    real = decode.decode

    def counting(source: bytes, background: str = "#ffffff", draft: int = 0) -> decode.Decoded:
        counted.append(len(source))
        return real(source, background, draft)

    monkeypatch.setattr(index.decode, "decode", counting)
    return counted


def test_second_look_reads_nothing(tmp_path: Path, pictures: Make, reads: list[int]) -> None:
    made = pictures(tmp_path / "pics 圖", [(64, 48), (300, 500)])
    with Index(tmp_path / "cache") as known:
        first = known.look(made)
    with Index(tmp_path / "cache") as known:
        assert known.look(made) == first
        thumbnails = known.thumbnails(made)
    assert len(reads) == 2
    assert [record.size for record in first.values()] == [(64, 48), (300, 500)]
    assert [record.digest for record in first.values()] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in made]
    for path, size in ((made[0], (64, 48)), (made[1], (115, THUMBNAIL))):
        assert Image.open(io.BytesIO(thumbnails[path])).size == size


def test_changed_files_are_read_again(tmp_path: Path, pictures: Make, reads: list[int]) -> None:
    made = pictures(tmp_path, [(64, 64)] * 2)
    with Index(tmp_path) as known:
        known.look(made)
        Image.new("RGB", (32, 64)).save(made[0])
        os.utime(made[1], ns=(1, 1))
        assert known.look(made)[made[0]].size == (32, 64)
        assert len(reads) == 4


def test_a_forgotten_picture_is_read_again(tmp_path: Path, pictures: Make, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size and time may be what they were; the others stay known."""
    made = pictures(tmp_path, [(64, 64)] * 3)
    monkeypatch.chdir(tmp_path)
    with Index(tmp_path) as known:
        known.look(made)
        known.forget([Path(made[1].name), tmp_path / "never seen.png"])
    reads.clear()
    with Index(tmp_path) as known:
        assert known.look(made).keys() == set(made) and len(reads) == 1


def test_what_an_older_version_took_for_a_picture_is_looked_at_anew(tmp_path: Path) -> None:
    """The first format's index held sizes of EPS and GIF files that were named .png."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, "GIF")
    with Index(tmp_path) as known:
        assert "GIF" in known.look([path])[path].problem
    base = sqlite3.connect(tmp_path / "index.sqlite3")
    base.execute("UPDATE pictures SET problem = '', hint = '', width = 8, height = 8")
    base.execute("PRAGMA user_version = 1")
    base.commit()
    base.close()
    with Index(tmp_path) as known:
        assert "GIF" in known.look([path])[path].problem


def test_problems_are_remembered_too(tmp_path: Path, pictures: Make, reads: list[int]) -> None:
    made = pictures(tmp_path, [(64, 64)])
    made[0].write_bytes(made[0].read_bytes()[:90])
    for _ in range(2):
        with Index(tmp_path) as known:
            record = known.look(made)[made[0]]
            assert record.problem and record.hint and known.thumbnails(made) == {}
    assert len(reads) == 1


def test_a_file_that_could_not_be_opened_is_tried_again(tmp_path: Path, pictures: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pictures(tmp_path, [(64, 64)])

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    with Index(tmp_path) as known:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_bytes", refused)
            assert "cannot be opened (Permission denied)" in known.look(made)[made[0]].problem
        assert not known.look(made)[made[0]].problem


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with Index(None) as known:
        assert "cannot be opened" in known.look([tmp_path / "gone.png"])[tmp_path / "gone.png"].problem


def test_progress_counts_new_pictures(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path, [(64, 64)] * 3)
    told: list[tuple[int, int]] = []
    with Index(None) as known:
        known.look(made[:1])
        known.look(made, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_interruption_loses_little(tmp_path: Path, pictures: Make, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    made = pictures(tmp_path, [(64, 64)] * 5)
    monkeypatch.setattr(index, "_CHUNK", 2)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Index(tmp_path) as known:
        known.look(made, workers=1, progress=stop)
    reads.clear()
    with Index(tmp_path) as known:
        known.look(made)
    assert len(reads) == 3


def test_a_damaged_index_is_made_again(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path)
    (tmp_path / "index.sqlite3").write_bytes(b"no database at all" * 100)
    with Index(tmp_path) as known:
        assert "damaged" in known.notes[0] and len(known.look(made)) == 2
    with Index(tmp_path) as known:
        assert known.notes == []


def test_another_format_is_made_again(tmp_path: Path, pictures: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pictures(tmp_path)
    with Index(tmp_path) as known:
        known.look(made)
    monkeypatch.setattr(index, "_FORMAT", 99)
    with Index(tmp_path) as known:
        assert known.thumbnails(made) == {} and len(known.look(made)) == 2
    base = sqlite3.connect(tmp_path / "index.sqlite3")
    assert base.execute("PRAGMA user_version").fetchone() == (99,)
    base.close()


def test_two_runs_that_begin_at_once_share_one_index(tmp_path: Path, pictures: Make, reads: list[int]) -> None:
    """One of them is making the table, and has looked at the pictures, when the other opens the file."""
    made = pictures(tmp_path)
    with Index(tmp_path) as first:
        first.look(made)
    content = sqlite3.connect(tmp_path / "index.sqlite3")
    script = "\n".join(content.iterdump()).replace("BEGIN TRANSACTION", "BEGIN IMMEDIATE").removesuffix("COMMIT;")
    content.close()
    (tmp_path / "index.sqlite3").unlink()
    making = sqlite3.connect(tmp_path / "index.sqlite3")
    making.executescript(f"{script} PRAGMA user_version = {index._FORMAT};")
    reads.clear()
    with ThreadPoolExecutor(1) as pool:

        def second() -> int:
            with Index(tmp_path) as known:
                return len(known.look(made))

        waiting = pool.submit(second)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        making.commit()
        assert waiting.result(timeout=60) == 2 and not reads
    making.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with pytest.raises(UserError, match="picture index cannot be written"):
        Index(tmp_path / "cache")
