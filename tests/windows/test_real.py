"""The real wheels in the rig: the locks are complete, the bundle installs offline, trains on an awkward path, moves, trains the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pe import Image
from rig_run import Rig
from taggers_fakes import TAGS, make

from engine import doctor, downloads, files, headers, locks
from engine.taggers import models, words
from engine.tools import bundle
from install import records
from recipes import lock_windows
from scripts import evaluator

pytestmark = pytest.mark.windows

NOWHERE = "http://127.0.0.1:9"  # the discard port: whoever asks the network fails
OFF = {"http_proxy": NOWHERE, "https_proxy": NOWHERE}
PYTHON = ("python_310/python.exe", "-s", "-X", "utf8", "-m", "engine")
PICTURES = "train_data/訓練 資料"
# Libraries that every Windows 10 has; msvcp140.dll and its kin are not among them.
OF_WINDOWS = """
advapi32 bcrypt bcryptprimitives cabinet combase crypt32 d3d11 d3d12 d3dcompiler_47 dbghelp dxgi gdi32 imagehlp iphlpapi kernel32 msi
msvcrt ntdll ole32 oleaut32 pdh powrprof psapi rpcrt4 setupapi shell32 user32 userenv version winmm wintrust ws2_32
"""


@pytest.fixture(scope="module")
def product(root: Path, rig: Rig, micro_sd: Path, micro_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An offline bundle for the CPU, unpacked, not yet installed."""
    place = tmp_path_factory.mktemp("real")
    stage = place / "stage"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
    for name in (name for name in listed if name and (root / name).is_file()):
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, stage / name)
    for model in (micro_sd, micro_sdxl):
        (stage / "models/micro").mkdir(exist_ok=True)
        shutil.copyfile(model, stage / "models/micro" / model.name)
    kept = root / lock_windows.FOLDER
    lock_windows.download(doctor.pins(root / "requirements.txt", (3, 10), "win32"), kept)
    (stage / "wheels").mkdir()
    for pin in (*locks.read(root / locks.LOCK), *locks.read(root / locks.CPU_LOCK)):
        wheel = locks.find_wheel(kept, pin)
        assert wheel is not None
        os.link(wheel, stage / "wheels" / wheel.name)
    table = downloads.read(root)
    python = dataclasses.replace(table["python"], sha256=files.sha256(rig.python_zip), size=rig.python_zip.stat().st_size)  # repacked
    shutil.copyfile(rig.python_zip, stage / "python_310" / python.file)
    text = (stage / downloads.TABLE).read_text(encoding="utf-8").replace(table["python"].sha256, python.sha256)
    (stage / downloads.TABLE).write_text(text, encoding="utf-8")
    subprocess.run("git init -q && git add -A", shell=True, cwd=stage, check=True)
    table["python"] = python
    folder = bundle.make(stage, place / "我的 工具" / "my lora", table, ("cpu",), lambda text: None)
    for source, name in ((stage, "of the clone.zip"), (folder, "of the bundle.zip")):
        bundle.make(source, place / name, table, (), lambda text: None)
    shutil.rmtree(stage)
    yield folder
    shutil.rmtree(place)


def test_the_bundle_repeats_to_the_byte_from_a_clone_and_from_itself(product: Path) -> None:
    clone, own = (product.parent.parent / f"of the {name}.zip" for name in ("clone", "bundle"))
    assert files.sha256(clone) == files.sha256(own)
    with zipfile.ZipFile(clone) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        listed = {**manifest["files"], **manifest["fetched"]}
        assert {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names if name != "manifest.json"} == listed
    users = [name for name in names if name.startswith(("models/", "train_data/", "output/", "cache/", "logs/", "wheels/", "dist/"))]
    others = {name for name in users if not name.startswith(("models/micro/", "train_data/demo/"))}
    assert others <= {"models/README.md", "output/.gitkeep"} and {name.split("/")[0] for name in users} >= {"models", "train_data"}


def install(rig: Rig, folder: Path) -> str:
    words, variables = rig.clicked(folder / "Install.cmd")
    status, said = rig.run(*words, cwd=Path("/"), timeout=1200, **variables, **OFF)
    assert status == 0 and "ready: a real training step ran on the CPU" in said, said
    return said


@pytest.fixture(scope="module")
def installed(rig: Rig, product: Path) -> Path:
    """The product after Install.cmd, without a network."""
    said = install(rig, product)
    assert "No broken requirements found." in said and "Looking in indexes" not in said
    return product


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_it_installs_offline_by_the_locks(installed: Path) -> None:
    site = installed / "python_310/Lib/site-packages"
    pins = [*locks.read(installed / locks.LOCK), *locks.read(installed / locks.CPU_LOCK)]
    there = {package.name: package for package in records.installed(site)}
    assert {name: package.version for name, package in there.items()} == {pin.name: pin.version for pin in pins}
    assert [name for name, package in there.items() if records.damage(package)] == []
    assert (installed / "scripts/train.ps1").read_bytes() == (installed / "scripts/shipped/train.ps1").read_bytes()
    assert "third_party" in (there["torch"].info / "licenses/ALL.txt").read_text(encoding="utf-8")


def test_no_path_is_too_deep_for_explorer(installed: Path) -> None:
    deepest = max((path.relative_to(installed).as_posix() for path in installed.rglob("*")), key=len)
    assert len(deepest) <= doctor.DEEPEST, deepest


def test_no_library_is_missing_on_a_fresh_windows(installed: Path) -> None:
    programs = [path for path in all_files(installed / "python_310") if path.suffix.lower() in (".dll", ".pyd")]
    ours = {path.name.lower() for path in programs}
    wanted: dict[str, str] = {}
    for path in programs:
        image = Image(path)
        wanted.update({name: path.name for name in image.imports()})
    missing = {
        name: by for name, by in wanted.items()
        if name not in ours and not name.startswith(("api-ms-win-", "ext-ms-")) and name.rpartition(".")[0] not in OF_WINDOWS.split()
    }  # fmt: skip
    assert missing == {}
    home = installed / "python_310"
    beside = {path.name.lower(): Image(path).exports() for path in home.glob("*.dll")}  # what torch's libraries find first
    for path in (home / "Lib/site-packages/torch/lib").glob("*.dll"):
        for name, symbols in Image(path).imports().items():
            assert symbols <= beside.get(name, symbols), (path.name, name, symbols - beside[name])


def test_nothing_holds_the_place_where_it_was_installed(installed: Path) -> None:
    """But for compiled files, which Python corrects when it loads them; the move below proves it."""
    windows = Rig.path(installed)
    spelled = (windows, windows.replace("\\", "/"), windows.replace("\\", "\\\\"))
    forms = [text.encode(code) for text in spelled for code in ("utf-8", "utf-16-le")]
    found = []
    for path in all_files(installed):
        if path.suffix != ".pyc" and path.stat().st_size:
            with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found.extend([path.relative_to(installed).as_posix() for form in forms if data.find(form) >= 0])
    assert found == []


def train(rig: Rig, folder: Path, name: str) -> str:
    """A short run of the demo on pictures in a folder beyond ASCII; the hash of what was trained."""
    length = ("--max_train_epochs", "0", "--max_train_steps", "6", "--save_every_n_epochs", "0", "--sample_every_n_epochs", "0")
    settings = ("--config", "configs/demo.toml", "--train_data_dir", PICTURES.replace("/", "\\"), "--output_name", name, *length)
    status, said = rig.run(*PYTHON, "train", *settings, cwd=folder, timeout=600, **OFF)
    assert status == 0, said
    return headers.read(folder / "output" / name / f"{name}.safetensors").metadata["sshs_model_hash"]


def test_tag_runs_on_the_processor_where_directml_does_not_start(rig: Rig, installed: Path) -> None:
    """Wine has no DirectX 12: the real package's other half must run. What tag.ps1's variables hand over is what is run."""
    row = models.find("wd-swinv2-v3")
    make(row, installed / "models/taggers" / row.name)
    pictures = installed / "train_data/標籤 😀"
    shutil.copytree(installed / "train_data/demo", pictures, ignore=shutil.ignore_patterns("*.md", "*.txt"))
    changed = {"train_data_dir": ".\\train_data\\標籤 😀", "thresh": 0.01, "trigger": "momo", "batch_size": 3}
    handed = evaluator.hand_over(installed / "scripts/tag.ps1", **changed)
    status, said = rig.run(*PYTHON, "tag", cwd=installed, ENGINE_HANDOVER=handed, **OFF)
    assert status == 0 and "DirectML (the graphics card) does not start" in said and f"{row.name} ran on the processor" in said, said
    written = {path.stem: path.read_text(encoding="utf-8") for path in pictures.rglob("*.txt")}
    assert len(written) == len(list(pictures.rglob("*.png"))) and all(text.startswith("momo, ") for text in written.values())
    tags = {words.spaced(name) for name, category in TAGS if category != "rating" and name}
    assert all(set(text.strip().split(", ")[1:]) == tags for text in written.values())
    begins: list[set[str]] = []
    for action in (["add", "night"], ["undo"], ["undo"]):
        variables = {"train_data_dir": changed["train_data_dir"], "words": action, "front": True, "yes": True}
        handed = evaluator.hand_over(installed / "scripts/captions.ps1", **variables)
        status, said = rig.run(*PYTHON, "captions", cwd=installed, ENGINE_HANDOVER=handed, **OFF)
        assert status == 0, said
        begins.append({path.read_text(encoding="utf-8").partition(", ")[0] for path in pictures.rglob("*.txt")})
    assert begins == [{"night"}, {"momo"}, set()]


def test_it_trains_moves_and_trains_the_same(rig: Rig, installed: Path) -> None:
    shutil.copytree(installed / "train_data/demo", installed / PICTURES, ignore=shutil.ignore_patterns("*.md"))
    first = train(rig, installed, "甲")
    rig.kill()
    cached = {path.name for path in all_files(installed / "cache/latents")}
    moved = installed.parent.parent / "D" / "moved & renamed (2)"
    moved.parent.mkdir()
    installed.rename(moved)
    try:
        assert train(rig, moved, "乙") == first
        assert {path.name for path in all_files(moved / "cache/latents")} == cached != set()  # carried along, and still good
        said = install(rig, moved)
        assert "installing" not in said
        told = (moved / "logs/doctor.txt").read_text(encoding="utf-8")
        assert "ready: a real training step ran" in told and moved.name not in told
    finally:
        moved.rename(installed)
