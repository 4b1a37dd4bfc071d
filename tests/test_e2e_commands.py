"""Every example that a `--help` prints, run for real in a copy of the product, in an order in which a user could type them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import captioners_fakes as fakes
import pytest
import taggers_fakes
from file_server import Site, serving

from engine import __version__
from engine.__main__ import COMMANDS
from engine.taggers import models as taggers

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform == "win32", reason="ends the viewer as a Linux terminal does")]

COPIED = ("engine", "install", "configs", "scripts", "train_data/demo", "models/micro", "requirements.txt", "requirements-gpu.txt")
ORDER = (
    *("train", "check", "captions", "cache", "caption", "tag"),
    *("sample", "inspect", "config", "tensorboard", "doctor", "bundle", "download"),
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as it:
        yield it


@pytest.fixture(scope="module")
def product(root: Path, tmp_path_factory: pytest.TempPathFactory, site: Site) -> Path:
    """A copy of the product as a bundle is unpacked, whose downloads come from a server here."""
    folder = tmp_path_factory.mktemp("訓練 folder")
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, folder / name)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file() and "micro" not in path.parts]
    (folder / "manifest.json").write_text(json.dumps({"version": "0", "files": dict.fromkeys(names, "")}), encoding="utf-8")
    fakes.blip(folder / "models/captioners/blip-large", side=384)
    taggers_fakes.make(taggers.find(taggers.DEFAULT), folder / "models/taggers" / taggers.DEFAULT)
    mine = folder / "train_data/mine/6_momo creature"
    mine.mkdir(parents=True)
    for path in (root / "train_data/demo").rglob("*.png"):
        shutil.copy(path, mine)
    model, python = (root / "models/micro/micro-sd.safetensors").read_bytes(), b"Python's zip"
    large = {"lfs": {"sha256": hashlib.sha256(model).hexdigest()}}
    page = example("download").split()[-1]
    site.files[f"/api/models/{page}"] = json.dumps({"siblings": [{"rfilename": "base.safetensors", "size": len(model), **large}]}).encode()
    site.files[f"/{page}/resolve/main/base.safetensors"] = model
    table = (folder / "install/downloads.toml").read_text(encoding="utf-8")
    table = table.replace("https://huggingface.co", site.address).replace("https://www.python.org", site.address)
    (path,) = re.findall(r'path = "(ftp/python/.*embed.*)"', table)
    site.files[f"/{path}"] = python
    row = rf'\1sha256 = "{hashlib.sha256(python).hexdigest()}"\nsize = {len(python)}'
    table = re.sub(r'(embed.*\n)sha256 = ".*"\nsize = \d+', row, table)
    (folder / "install/downloads.toml").write_text(table, encoding="utf-8")
    return folder


def example(name: str) -> str:
    """The example of a command, as its help prints it."""
    command = [sys.executable, "-s", "-X", "utf8", "-m", "engine", name, "--help"]
    root = Path(__file__).resolve().parent.parent
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    (line,) = re.findall(r"(?m)^example  \S+ -m engine (.*)$", said)
    return str(line)


def started(name: str, product: Path) -> subprocess.Popen[str]:
    """The example of a command, under way."""
    foreign = ("http_proxy", "all_proxy", "pythonpath", "hf_endpoint")
    own = {name: value for name, value in os.environ.items() if name.lower() not in foreign}
    return subprocess.Popen(
        [sys.executable, "-s", "-X", "utf8", "-m", "engine", *shlex.split(example(name))],
        cwd=product, env={**own, "BROWSER": "true", "NO_PROXY": "127.0.0.1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )  # fmt: skip


MADE = {  # command -> what its example says, and the file that it leaves
    "train": ("demo.safetensors", "output/demo/demo.safetensors"),
    "check": ("Contact sheet, to open in a browser: ", "output/check.html"),
    "captions": ("12 captions, 7 tags", ""),
    "cache": ("", "cache/latents"),
    "caption": ("12 captions written", "train_data/mine/6_momo creature/01.txt"),
    "tag": ("12 captions written; wd-swinv2-v3 ran on the processor", "train_data/mine/6_momo creature/01.txt"),
    "sample": ("2 pictures: ", "output/demo/compare.html"),
    "inspect": ("is              an adapter: LoRA", ""),
    "config": ("configs/demo.toml:", ""),
    "tensorboard": ("TensorBoard shows logs at http://127.0.0.1:", ""),
    "doctor": ("ready: a real training step ran on ", "logs/doctor.txt"),
    "bundle": ("SHA-256 ", f"dist/portable-lora-trainer-{__version__}-windows.zip"),
    "download": ('to train on it: pretrained_model_name_or_path = "', "models/base.safetensors"),
}


def test_the_order_has_every_command() -> None:
    assert sorted(ORDER) == sorted(MADE) == sorted(command.name for command in COMMANDS)


@pytest.mark.parametrize("name", ORDER)
def test_an_example_does_what_it_says(name: str, product: Path) -> None:
    if name == "tag":  # `caption` has written them, and they would be skipped
        for caption in (product / "train_data/mine").rglob("*.txt"):
            caption.unlink()
    process = started(name, product)
    said, file = MADE[name]
    if name == "tensorboard":
        assert process.stdout is not None
        line = next(line for line in process.stdout if "TensorBoard shows" in line or "error" in line)
        process.send_signal(signal.SIGINT)
        rest = process.communicate()[0]
        assert said in line and process.returncode == 130 and "Traceback" not in rest, line + rest
        return
    told = process.communicate()[0]
    assert process.returncode == 0 and said in told and "Traceback" not in told, told
    assert not file or (product / file).exists(), told
    if name == "bundle":
        with zipfile.ZipFile(product / file) as archive:
            assert {"engine/__main__.py", "scripts/shipped/train.ps1", "manifest.json"} <= set(archive.namelist())
