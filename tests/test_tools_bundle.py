"""`bundle`: what is in it, what is not, that it repeats to the byte, and that nothing in it knows where it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import downloads, files
from engine.downloads import Download
from engine.errors import UserError
from engine.locks import Pin
from engine.tools import bundle
from install import shipped

Table = dict[str, Download]
BOM = "\ufeff"


@pytest.fixture
def table(root: Path, tmp_path: Path) -> Table:
    """The real table, with a Python of a few bytes that lies in `tmp_path`."""
    data = b"a zip"
    return {**downloads.read(root), "python": Download("python", "python.zip", sha256=hashlib.sha256(data).hexdigest(), size=len(data))}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small clone with a path beyond ASCII."""
    folder = tmp_path / "我的 clone"
    content = {
        "Install.cmd": "@echo off\r\n",
        "engine/__init__.py": "",
        "scripts/train.ps1": BOM + '$network_dim = 32\r\n$new = "x"\r\n',
        "scripts/lib/x.ps1": BOM,
        "scripts/train.cmd": "@rem\r\n",
        "train_data/demo/1_a/1.txt": "a",
        "output/.gitkeep": "",
        ".ci/run": "",
        ".gitignore": "models\npython_310\n",
        "requirements-windows.lock": "",
    }
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    subprocess.run("git init -q && git add -A", shell=True, cwd=folder, check=True)
    for name in (*bundle.MODELS, "models/mine.safetensors", "output/mine/mine.safetensors", "python_310/python.zip"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a zip")
    return folder


def made(clone: Path, table: Table, name: str = "a.zip") -> Path:
    return bundle.make(clone, clone.parent / name, table, (), lambda text: None)


def test_what_is_in_it(clone: Path, table: Table) -> None:
    with zipfile.ZipFile(made(clone, table)) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        assert all(hashlib.sha256(archive.read(name)).hexdigest() == digest for name, digest in manifest["files"].items())
    assert sorted(names) == sorted([*manifest["files"], *manifest["fetched"], "manifest.json"])
    assert set(manifest["files"]) == {
        "Install.cmd", "engine/__init__.py", "scripts/shipped/train.ps1", "scripts/lib/x.ps1", "scripts/train.cmd",
        "train_data/demo/1_a/1.txt", "output/.gitkeep", "requirements-windows.lock", *bundle.MODELS,
    }  # fmt: skip
    assert list(manifest["fetched"]) == ["python_310/python.zip"]


def test_it_repeats_to_the_byte_wherever_it_is_made(clone: Path, table: Table, tmp_path: Path) -> None:
    first = made(clone, table)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(clone, elsewhere)
    (elsewhere / "Install.cmd").touch()
    assert files.sha256(first) == files.sha256(made(elsewhere, table, "b.zip"))


def test_a_folder_holds_the_same_and_can_make_another(clone: Path, table: Table) -> None:
    folder = made(clone, table, "unpacked")
    with zipfile.ZipFile(made(clone, table)) as archive:
        assert [name for name in archive.namelist() if (folder / name).read_bytes() != archive.read(name)] == []
    assert shipped.update(folder).placed == ["train.ps1"]  # type: ignore[union-attr]
    again = bundle.make(folder, folder.parent / "again.zip", table, (), lambda text: None)
    assert files.sha256(again) == files.sha256(clone.parent / "a.zip")


def test_nothing_real_knows_where_it_was_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (root / ".git").exists():
        pytest.skip("not a clone")
    monkeypatch.setattr(bundle, "MODELS", tuple(name for name in bundle.MODELS if (root / name).is_file()))  # a clone may lack them yet
    named = bundle._members(root)
    here = [str(root).encode(), str(root).encode("utf-16-le"), str(Path.home()).encode() + b"/"]
    assert [name for name, source in named.items() if any(path in (root / source).read_bytes() for path in here)] == []
    assert not [name for name in named if name.startswith(("models/", "train_data/", "output/"))
                and not name.startswith(("models/micro/", "models/README.md", "train_data/demo/", "output/.gitkeep"))]  # fmt: skip
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md", "Install.cmd", "python_310/python310._pth", "install/downloads.toml"} <= named.keys()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda clone: (clone / "models/micro/micro-sd.safetensors").unlink(), "the built-in base model is not there"),
        (lambda clone: shutil.rmtree(clone / ".git"), "neither a clone nor an unpacked bundle"),
        (lambda clone: (clone.parent / "a.zip").touch(), "exists already"),
        (lambda clone: (clone / "python_310/python.zip").write_bytes(b"other"), "not the right file"),
    ],
)
def test_what_is_missing_or_wrong_is_told(clone: Path, table: Table, prepare: Callable[[Path], object], words: str) -> None:
    prepare(clone)
    with pytest.raises(UserError) as caught:
        made(clone, table)
    assert words in str(caught.value)


def test_deep_paths_are_refused(clone: Path, table: Table) -> None:
    deep = clone / ("engine/" + "a_long_folder_name/" * 7) / "a_long_module_name.py"
    deep.parent.mkdir(parents=True)
    deep.touch()
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True)
    with pytest.raises(UserError, match="over 150 characters"):
        made(clone, table)


def test_wheels_are_held_against_the_lock(clone: Path, table: Table) -> None:
    data = b"a wheel"
    (clone / "wheels").mkdir()
    (clone / "wheels/a_b-1.0-py3-none-any.whl").write_bytes(data)
    (clone / "requirements-windows.lock").write_text(Pin("a-b", "1.0", hashlib.sha256(data).hexdigest()).line, encoding="utf-8")
    (clone / "requirements-windows-gpu.lock").write_text("", encoding="utf-8")
    row = dataclasses.replace(table["torch-cu126"], file="torch.whl", sha256=hashlib.sha256(data).hexdigest(), at_least=0)
    (clone / "wheels/torch.whl").write_bytes(data)
    table = {**table, "torch-cu126": row}
    with zipfile.ZipFile(bundle.make(clone, clone.parent / "w.zip", table, ["cu126"], lambda text: None)) as archive:
        assert {"wheels/a_b-1.0-py3-none-any.whl", "wheels/torch.whl"} <= set(archive.namelist())
    (clone / "wheels/a_b-1.0-py3-none-any.whl").write_bytes(b"another")
    with pytest.raises(UserError, match="lock's hash"):
        bundle.make(clone, clone.parent / "x.zip", table, ["cu126"], lambda text: None)
