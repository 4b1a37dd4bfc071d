"""Unpacking a newer zip over the folder: whose scripts stay, whose go, and what an earlier version left."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engine.errors import UserError
from install import shipped

FIRST = {
    "scripts/shipped/train.ps1": "$a = 1\r\n$B = 2\r\n",
    "scripts/shipped/old.ps1": "$x = 1\r\n",
    "engine/old/gone.py": "1",
    "engine/a.py": "1",
}
SECOND = {
    "scripts/shipped/train.ps1": "$a = 1\r\n$b = 2\r\n$c = 3\r\n",
    "scripts/shipped/new.ps1": "$y = 1\r\n",
    "engine/a.py": "2",
}


def unpack(root: Path, content: dict[str, str], fetched: dict[str, str] | None = None) -> None:
    """A zip of these files over the folder."""
    for name, text in {**content, **(fetched or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode("utf-8-sig"))
    parts = {"files": content, "fetched": fetched or {}}
    hashes = {part: {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names} for part, names in parts.items()}
    (root / "install").mkdir(exist_ok=True)
    (root / "manifest.json").write_text(json.dumps({"version": "1", **hashes}), encoding="utf-8")


def script(root: Path, name: str) -> str:
    return (root / "scripts" / name).read_text(encoding="utf-8-sig")


def updated(root: Path) -> shipped.Changes:
    changes = shipped.update(root)
    assert changes is not None
    return changes


def test_a_clone_has_nothing_to_put_in_place(tmp_path: Path) -> None:
    assert shipped.update(tmp_path) is None


def test_the_first_time_every_script_is_put_in_place(tmp_path: Path) -> None:
    unpack(tmp_path, FIRST)
    assert updated(tmp_path).placed == ["train.ps1", "old.ps1"]
    assert (tmp_path / "scripts/train.ps1").read_bytes() == (tmp_path / "scripts/shipped/train.ps1").read_bytes()
    again = updated(tmp_path)
    assert (again.placed, again.kept, again.removed, again.left) == ([], {}, [], [])
    (tmp_path / "scripts/train.ps1").unlink()
    assert updated(tmp_path).placed == ["train.ps1"]


def test_unedited_scripts_are_renewed_and_old_files_go(tmp_path: Path) -> None:
    unpack(tmp_path, FIRST)
    updated(tmp_path)
    (tmp_path / "engine/old/__pycache__").mkdir()
    (tmp_path / "output/mine").mkdir(parents=True)
    unpack(tmp_path, SECOND)
    changes = updated(tmp_path)
    assert changes.placed == ["train.ps1", "new.ps1"] and changes.kept == {} and changes.left == []
    assert sorted(changes.removed) == ["engine/old/gone.py", "scripts/old.ps1", "scripts/shipped/old.ps1"]
    assert "$c = 3" in script(tmp_path, "train.ps1") and not (tmp_path / "engine/old").exists()
    assert (tmp_path / "output/mine").exists()


def test_edited_scripts_stay_and_new_variables_are_told(tmp_path: Path) -> None:
    unpack(tmp_path, FIRST)
    updated(tmp_path)
    (tmp_path / "scripts/train.ps1").write_bytes(b"$a = 5\r\n$B = 2\r\n")
    (tmp_path / "scripts/old.ps1").write_bytes(b"$x = 5\r\n")
    (tmp_path / "engine/old/gone.py").write_text("mine", encoding="utf-8")
    unpack(tmp_path, SECOND)
    changes = updated(tmp_path)
    assert changes.kept == {"train.ps1": ["c"]} and script(tmp_path, "train.ps1").startswith("$a = 5")
    assert sorted(changes.left) == ["engine/old/gone.py", "scripts/old.ps1"]
    assert updated(tmp_path).kept == {"train.ps1": ["c"]}


def test_the_wheels_of_an_earlier_offline_bundle_go_when_the_new_one_brings_its_own(tmp_path: Path) -> None:
    wheels = {f"wheels/{name}.whl": name for name in ("old", "edited", "both")}
    unpack(tmp_path, FIRST, wheels)
    updated(tmp_path)
    (tmp_path / "wheels/edited.whl").write_text("mine", encoding="utf-8")
    (tmp_path / "wheels/own.whl").write_text("mine", encoding="utf-8")
    unpack(tmp_path, FIRST, {"wheels/both.whl": "both", "wheels/new.whl": "new"})
    changes = updated(tmp_path)
    assert (changes.removed, changes.left) == (["wheels/old.whl"], ["wheels/edited.whl"])
    assert sorted(path.name for path in (tmp_path / "wheels").iterdir()) == ["both.whl", "edited.whl", "new.whl", "own.whl"]
    unpack(tmp_path, FIRST)  # one without wheels takes none away
    assert updated(tmp_path).removed == [] and (tmp_path / "wheels/new.whl").exists()


def test_interrupted_and_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(tmp_path, FIRST)
    updated(tmp_path)
    unpack(tmp_path, SECOND)
    with monkeypatch.context() as patch:
        patch.setattr(shipped, "_remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shipped.update(tmp_path)
    changes = updated(tmp_path)
    assert sorted(changes.removed) == ["engine/old/gone.py", "scripts/old.ps1", "scripts/shipped/old.ps1"]
    assert "$c = 3" in script(tmp_path, "train.ps1")


def test_an_incomplete_or_damaged_folder_is_told(tmp_path: Path) -> None:
    unpack(tmp_path, FIRST)
    (tmp_path / "engine/a.py").unlink()
    with pytest.raises(UserError, match="engine/a.py is missing") as caught:
        shipped.update(tmp_path)
    assert "unpack the whole zip again" in caught.value.hint
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        shipped.update(tmp_path)
