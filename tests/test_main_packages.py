"""A set-up that was interrupted: Python is there, its packages are not. No command ends in a traceback for that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.__main__ import COMMANDS
from engine.config import HANDOVER

Run = Callable[..., subprocess.CompletedProcess[str]]
SET_UP = "Install.cmd" if sys.platform == "win32" else "`bash scripts/setup.sh`"
MODEL = "models/micro/micro-sd.safetensors"
FILES = ("engine", "install", "configs", "train_data/demo", "requirements.txt", "requirements-gpu.txt", MODEL)


@pytest.fixture(scope="module")
def product(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product's files in a folder of their own, and `bare`, a Python without any package."""
    folder = tmp_path_factory.mktemp("訓練 folder")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, folder / name)
    venv.create(folder / "bare", with_pip=False, symlinks=sys.platform != "win32")
    return folder


@pytest.fixture
def run(product: Path) -> Run:
    """`run("train", ..., handed={...})`: the engine in the product's folder, on the Python without packages."""

    def call(*words: str, **handed: object) -> subprocess.CompletedProcess[str]:
        python = product / "bare" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if handed:
            environment[HANDOVER] = json.dumps(handed)
        command = [str(python), "-s", "-X", "utf8", "-m", "engine", *words]
        return subprocess.run(
            command, cwd=product, env=environment, capture_output=True, text=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL
        )

    return call


# Command -> its words, and the module that it needs first; "" where it needs none.
NEEDS = {
    "train": (["--config", "configs/demo.toml"], "torch"),
    "check": (["--config", "configs/demo.toml"], "tokenizers"),
    "tag": (["train_data/demo"], "rich"),
    "captions": (["count", "--config", "configs/demo.toml"], "PIL"),
    "cache": (["--config", "configs/demo.toml"], "torch"),
    "caption": (["train_data/demo"], "rich"),
    "sample": (["--pretrained_model_name_or_path", MODEL, "--prompt", "a cat"], "torch"),
    "inspect": ([MODEL], ""),
    "tensorboard": (["--logdir", "configs"], "tensorboard"),
    "config": (["--network_dim", "16"], ""),
    "download": (["no/such"], "pip"),
    "bundle": (["--out", "x.zip"], "pip"),
    "doctor": (["--run"], ""),
}


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_a_command_without_its_packages(command: str, run: Run) -> None:
    words, needed = NEEDS[command]
    answer = run(command, *words)
    assert "Traceback" not in answer.stderr, answer.stderr
    assert run(command, "--help").returncode == 0
    if not needed:
        assert answer.stderr == "" and answer.returncode == (command == "doctor"), answer
        return
    modules = (needed, "tomli") if sys.version_info < (3, 11) else (needed,)  # 3.10 reads TOML with tomli
    hint = f"hint: run {SET_UP} again, which installs what is missing; `python -m engine doctor` lists it"
    assert answer.returncode == 1 and answer.stderr.splitlines() in (
        [f"error: the Python module `{module}` is missing", hint] for module in modules
    )


def test_a_script_without_its_packages(run: Run) -> None:
    report = run("doctor", script="doctor.ps1", command="doctor", edition="Core", variables={"run_training": False}, arguments=[])
    assert report.returncode == 1 and report.stderr == "" and "BAD   missing" in report.stdout, report
    variables = {"pretrained_model": MODEL, "train_data_dir": "train_data/demo"}
    answer = run("train", script="train.ps1", command="train", edition="Core", variables=variables, arguments=[])
    assert answer.returncode == 1 and answer.stderr.startswith("error: the Python module `torch` is missing\nhint: run "), answer.stderr


def test_the_doctor_counts_what_is_missing_and_names_what_the_engine_uses(run: Run) -> None:
    (line,) = (line for line in run("doctor").stdout.splitlines() if line.startswith("BAD   missing"))
    count, _, names = line.split(None, 2)[2].partition(": ")
    missing, _, wanted = count.partition(" of ")
    used = [name for name in names.split(", ") if not name.startswith("and ")]
    assert missing == wanted and {"torch", "diffusers", "pillow"} <= set(used) and "certifi" not in names
    assert names.endswith(f", and {int(wanted) - len(used)} that these need")


HALVES = {  # what stands in torch's __init__.py -> how the answer begins, how its traceback ends
    None: ("error: the Python module `torch.nn` is missing\nhint: run ", ""),  # no such file: a namespace
    "raise OSError('libtorch_global_deps.so is not there')": ("Traceback", "OSError: libtorch_global_deps.so is not there"),
    "from torch._C import *": ("error: the Python module `torch._C` is missing\nhint: run ", ""),
}


@pytest.mark.parametrize("code", HALVES)
def test_half_a_package(code: str | None, product: Path, run: Run) -> None:
    """pip unpacks a package's description last, so that what was cut short has none: an error of any kind then has this below it."""
    (packages,) = (product / "bare").glob("**/site-packages")
    torch = packages / "torch"
    torch.mkdir()
    try:
        if code is not None:
            (torch / "__init__.py").write_text(code, encoding="utf-8")
        answer = run("sample", *NEEDS["sample"][0])
    finally:
        shutil.rmtree(torch)
    begins, ends = HALVES[code]
    assert answer.returncode == 1 and answer.stderr.startswith(begins), answer.stderr
    if ends:
        *_, last, note = answer.stderr.splitlines()
        assert last == ends
        assert note.startswith("packages missing: ") and "torch" in note and note.endswith(f"; run {SET_UP} again")


def test_a_module_of_our_own_that_is_missing_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import __main__ as main
    from engine.commands.command import NoOptions

    def broken(*_: object) -> int:
        raise ModuleNotFoundError("No module named 'engine.gone'", name="engine.gone")

    monkeypatch.setattr(main, "COMMANDS", (main.Command("train", "", "", NoOptions, broken),))
    monkeypatch.setattr(main.environment, "apply", lambda root: None)
    with pytest.raises(ModuleNotFoundError, match=r"engine\.gone"):
        main.main(["train"])


def test_another_python_is_sent_to_the_one_that_has_the_packages(product: Path, run: Run) -> None:
    name = ".venv/bin/python" if sys.platform != "win32" else "python_310/python.exe"
    python = product / name
    python.parent.mkdir(parents=True)
    python.touch()
    try:
        hint = run("tensorboard", *NEEDS["tensorboard"][0]).stderr.splitlines()[1]
    finally:
        shutil.rmtree(product / name.partition("/")[0])
    assert hint.startswith("hint: this is ") and hint.endswith(f"run {Path(name)} -m engine in the product's folder"), hint
