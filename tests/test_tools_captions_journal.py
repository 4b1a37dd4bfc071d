"""The journal of captions: all files or none, whatever fails and whenever the process is killed; undoing gives back the first bytes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import files
from engine.data.folder import list_folder
from engine.errors import UserError
from engine.tools.captions import journal, transaction, undo
from engine.tools.captions.transaction import Change, Run, apply, recover

NAMES = ("a.txt", "貓 😀.txt", "n" * 196 + ".txt", "new.txt")


def state(*folders: Path) -> dict[str, bytes]:
    """All files of these folders outside the journal."""
    return {f"{folder.name}/{path.name}": path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}


def journals(*folders: Path) -> list[list[str]]:
    return [sorted(os.listdir(journal.place(folder))) if journal.place(folder).is_dir() else [] for folder in folders]


def assert_tidy(*folders: Path) -> None:
    """Nothing but finished entries is left; then begin anew, since each entry more takes time."""
    assert not any(journal.is_unfinished(folder) for folder in folders), journals(*folders)
    for folder in folders:
        shutil.rmtree(journal.place(folder), ignore_errors=True)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = (tmp_path / "3_one", tmp_path / "10_two 圖")
    for folder in made:
        folder.mkdir()
        for number, name in enumerate(NAMES[:3]):
            (folder / name).write_bytes(f"before {number}\r\n".encode("utf-16"))
    return made


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing takes most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def edits(*folders: Path, mark: str = "after") -> list[Change]:
    """A change of each kind in each folder: two files changed, one taken away, one made."""
    changes = []
    for folder in folders:
        for number, name in enumerate(NAMES):
            before = journal.bytes_of(folder / name)
            changes.append(Change(folder / name, before, None if number == 1 and before else f"{mark} {number}".encode()))
    return changes


def test_all_kinds_of_changes_are_made_and_undone(folders: tuple[Path, Path]) -> None:
    first = state(*folders)
    done = apply(edits(*folders), "captions add x")
    second = state(*folders)
    assert second["3_one/new.txt"] == b"after 3" and "3_one/貓 😀.txt" not in second and len(done.paths) == 8
    assert [entry.command for entry in journal.entries(folders[1])] == ["captions add x"]
    assert journals(*folders) == [["000001.json", "lock"]] * 2
    back = undo.last(folders)
    assert back.command == "captions add x" and not back.left
    back.apply()
    assert state(*folders) == first
    assert not undo.last(folders).runs and not undo.everything(folders).changes


def test_nothing_to_change_leaves_no_trace(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "a.txt"
    assert apply([Change(path, path.read_bytes(), path.read_bytes())], "captions sort").paths == ()
    recover(folders)
    assert journals(*folders) == [[], []]


def test_the_journal_is_no_folder_of_pictures(folders: tuple[Path, Path], pictures: Callable[..., list[Path]]) -> None:
    pictures(folders[0])
    before = list_folder(folders[0])
    apply(edits(folders[0])[:1], "captions add x")
    assert list_folder(folders[0]) == before


@pytest.mark.parametrize("seed", range(6))
def test_undoing_any_sequence_gives_back_the_first_bytes(folders: tuple[Path, Path], seed: int) -> None:
    rng = random.Random(seed)
    first, wanted = state(*folders), []
    for step in range(8):
        if wanted and rng.random() < 0.3:
            undo.last(folders).apply()
            assert state(*folders) == wanted.pop()
            continue
        wanted.append(state(*folders))
        chosen = rng.sample(edits(*folders, mark=f"step {step} of"), rng.randint(1, 5))
        apply(chosen, f"captions step {step}")
    if seed % 2:
        undo.everything(folders).apply()
        assert not undo.last(folders).runs
    while (back := undo.last(folders)).runs:
        back.apply()
        assert state(*folders) == wanted.pop()
    assert state(*folders) == first


def test_a_file_that_somebody_changed_is_left_and_named(folders: tuple[Path, Path]) -> None:
    one = folders[0] / "a.txt"
    first = one.read_bytes()
    apply(edits(*folders), "captions add x")
    one.write_bytes(b"mine")
    back = undo.last(folders)
    assert back.left == (one,)
    back.apply()
    assert one.read_bytes() == b"mine" and state(folders[1])["10_two 圖/a.txt"] == first
    assert not undo.last(folders).runs  # it does not come up again
    apply([Change(one, b"mine", b"more")], "captions add more")
    undo.everything(folders).apply()
    assert one.read_bytes() == first


def test_only_files_left_still_ends(folders: tuple[Path, Path]) -> None:
    one = folders[0] / "a.txt"
    apply([Change(one, one.read_bytes(), b"x")], "captions add x")
    one.write_bytes(b"mine")
    undo.last(folders).apply()
    assert one.read_bytes() == b"mine" and not undo.last(folders).runs


def test_a_caption_changed_meanwhile_stops_all(folders: tuple[Path, Path]) -> None:
    changes = edits(*folders)
    (folders[1] / "a.txt").write_bytes(b"by an editor")
    before = state(*folders)
    with pytest.raises(UserError, match="changed by another program"):
        apply(changes, "captions add x")
    assert state(*folders) == before and journals(*folders) == [[], []]


def test_two_commands_at_once_are_refused(folders: tuple[Path, Path]) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom engine.tools.captions import journal\n"
        "with journal.held(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-s", "-X", "utf8", "-c", program, str(folders[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        before = state(*folders)
        with pytest.raises(UserError, match="another command is changing the captions"):
            apply(edits(*folders), "captions add x")
        other.kill()
    assert state(*folders) == before
    apply(edits(*folders), "captions add x")  # the killed process holds nothing


class Points:
    """Counts what a transaction asks of the disk, and does something at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], at: int = -1) -> None:
        self.count, self.at, self.act = 0, at, act
        self.lock = threading.Lock()
        for module, name in ((os, "replace"), (os, "fsync"), (os, "unlink"), (os, "mkdir"), (os, "rmdir"), (Path, "unlink")):
            monkeypatch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def counted(*given: object, **named: object) -> object:
            with self.lock:
                self.count += 1
                due = self.count == self.at
            if due:
                self.act()
            return real(*given, **named)

        return counted


def _refuse() -> None:
    raise OSError(28, "No space left on device")


def _interrupt() -> None:
    raise KeyboardInterrupt


def few(folders: tuple[Path, Path]) -> list[Change]:
    """A change of each kind, in two folders."""
    return [edits(folders[0])[1], *edits(folders[1])[2:]]


def _tried(folders: tuple[Path, Path]) -> tuple[int, dict[str, bytes]]:
    """How many points there are in one transaction, and what it makes; it is taken back again."""
    with pytest.MonkeyPatch.context() as patch:
        points = Points(patch, _refuse)
        apply(few(folders), "captions count")
    made = state(*folders)
    undo.last(folders).apply()
    assert_tidy(*folders)
    return points.count, made


@pytest.mark.parametrize("act", [_refuse, _interrupt])
def test_a_failure_at_any_point_changes_all_or_nothing(folders: tuple[Path, Path], act: Callable[[], None]) -> None:
    before = state(*folders)
    total, after = _tried(folders)
    outcomes = set()
    for at in range(1, total + 1):
        with pytest.MonkeyPatch.context() as patch:
            Points(patch, act, at)
            with contextlib.suppress(UserError, KeyboardInterrupt, OSError):
                apply(few(folders), f"captions {at}")
        assert state(*folders) in (before, after), at  # at once, without anybody mending it
        recover(folders)
        outcomes.add(state(*folders) == after)
        undo.last(folders).apply()
        assert state(*folders) == before, at
        assert_tidy(*folders)
    assert outcomes == {True, False}


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_at_any_point_it_is_all_or_nothing(folders: tuple[Path, Path]) -> None:
    before = state(*folders)
    total, after = _tried(folders)
    outcomes = set()
    for at in range(1, total + 1):
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                Points(patch, lambda: os.kill(os.getpid(), signal.SIGKILL), at)
                apply(few(folders), f"captions {at}")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        recover(folders[::-1])
        assert state(*folders) in (before, after), at
        outcomes.add(state(*folders) == after)
        undo.last(folders).apply()
        assert state(*folders) == before, at
        assert_tidy(*folders)
    assert outcomes == {True, False}


def test_killed_then_only_one_folder_is_used(folders: tuple[Path, Path]) -> None:
    """The second folder asks the first one, which decides."""
    apply(edits(*folders), "captions add x")
    finished = journal.entry_file(folders[1], 1)
    finished.rename(journal.entry_file(folders[1], 1, ".pending"))  # killed in step 4
    recover([folders[1]])
    assert finished.is_file() and (folders[1] / "new.txt").exists()
    undo.last(folders).apply()
    assert not (folders[1] / "new.txt").exists()


def test_a_full_disk_changes_nothing(small_disk: Path) -> None:
    folder = small_disk / "1_x"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_bytes(b"short")
    (small_disk / "filler").write_bytes(b"\0" * (500 << 10))
    before = state(folder)
    with pytest.raises(UserError, match="the disk is full"):
        apply([Change(folder / f"{number}.txt", b"short", b"x" * (30 << 10)) for number in range(20)], "captions add x")
    assert state(folder) == before and not journal.place(folder).exists()


def test_a_read_only_folder_is_told(folders: tuple[Path, Path], as_user: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom engine.errors import UserError\n"
        "from engine.tools.captions.transaction import Change, apply\npath = Path(sys.argv[1])\n"
        "try:\n    apply([Change(path, path.read_bytes(), b'x')], 'captions add x')\nexcept UserError as error:\n    print(error.message)\n"
    )
    folders[0].chmod(0o555)
    before = state(folders[0])
    try:
        assert as_user("-c", program, str(folders[0] / "a.txt")).stdout == "this place cannot be written to\n"
    finally:
        folders[0].chmod(0o755)
    assert state(folders[0]) == before


@pytest.mark.skipif(sys.platform == "win32", reason="rights of Linux")
def test_a_files_rights_stay(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "a.txt"
    path.chmod(0o640)
    apply([Change(path, path.read_bytes(), b"x")], "captions add x")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_run_that_writes_as_it_goes_is_one(folders: tuple[Path, Path]) -> None:
    first = state(*folders)
    run = Run(folders, "tag wd-swinv2-v3")
    assert not run.continued
    run.write(edits(folders[0])[:2])
    run.write(edits(folders[0])[2:])
    again = Run(folders, "tag wd-swinv2-v3")  # it was stopped
    assert again.continued and again.id == run.id
    again.write(edits(folders[1]))
    again.finish()
    assert not Run(folders, "tag wd-swinv2-v3").continued
    undo.last(folders).apply()
    assert state(*folders) == first


@pytest.mark.parametrize("between", ["another command", "another tagger", "undone"])
def test_what_else_was_done_begins_another_run(folders: tuple[Path, Path], between: str) -> None:
    run = Run(folders, "tag a")
    run.write(edits(folders[0])[:1])
    if between == "another command":
        apply(edits(folders[0])[2:3], "captions add x")
    elif between == "undone":
        undo.last(folders).apply()
    assert not Run(folders, "tag b" if between == "another tagger" else "tag a").continued


@pytest.fixture
def damaged(folders: tuple[Path, Path]) -> Iterator[Path]:
    apply(edits(*folders), "captions add x")
    yield journal.entry_file(folders[0], 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1'])
def test_a_damaged_entry_is_told(damaged: Path, text: str) -> None:
    damaged.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        undo.last([damaged.parent.parent])


def test_an_entry_never_names_a_file_elsewhere(damaged: Path) -> None:
    damaged.write_text(damaged.read_text(encoding="utf-8").replace('"a.txt"', '"../a.txt"'), encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        undo.everything([damaged.parent.parent])


def test_a_large_journal_is_told(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    apply(edits(folders[0]), "captions add x")
    assert journal.told_size(folders) == []
    monkeypatch.setattr(journal, "_LARGE", 10)
    (line,) = journal.told_size(folders)
    assert ".captions" in line


def test_a_file_in_the_journals_place_is_told(folders: tuple[Path, Path]) -> None:
    files.write_text(journal.place(folders[0]), "")
    with pytest.raises(UserError, match="this is a file"):
        apply(edits(folders[0]), "captions add x")
    assert transaction.new_run() != transaction.new_run()
