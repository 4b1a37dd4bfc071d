"""Locks, what pip is asked, and what its failures mean."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine import doctor, environment, locks
from engine.errors import UserError
from engine.locks import Pin
from install import packages
from install.log import Log
from install.packages import Pip, Source

PIN = Pin("a-b", "1.0+cu130", "0" * 64)


def test_the_locks_are_the_pins(root: Path) -> None:
    """`python -m recipes.lock_windows` makes them; this holds them to requirements*.txt."""
    wanted = doctor.pins(root / "requirements.txt", (3, 10), "win32")
    torch = {"torch": wanted.pop("torch")}
    optional = doctor.pins(root / "requirements-gpu.txt", (3, 10), "win32")
    assert "colorama" in wanted and "msvc-runtime" in wanted and "exceptiongroup" in wanted
    for name, pins in ((locks.LOCK, wanted), (locks.CPU_LOCK, torch), (locks.OPTIONAL_LOCK, optional)):
        assert {pin.name: pin.version for pin in locks.read(root / name)} == pins, name


def test_a_lock_without_a_hash_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("# a comment\nA_b==1.0 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    assert locks.read(tmp_path / "a.lock") == [Pin("a-b", "1.0", "0" * 64)]
    (tmp_path / "a.lock").write_text("a==1.0\n", encoding="utf-8")
    with pytest.raises(UserError, match="no pin with a hash"):
        locks.read(tmp_path / "a.lock")
    with pytest.raises(UserError, match="missing"):
        locks.read(tmp_path / "none.lock")


@pytest.mark.parametrize("name", ["A_b-1.0+cu130-cp310-cp310-win_amd64.whl", "a.b-1.0%2Bcu130-py3-none-any.whl"])
def test_wheels_are_found_by_any_spelling(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "a_b-1.0-py3-none-any.whl").touch()
    assert locks.find_wheel(tmp_path, PIN) == tmp_path / name
    assert locks.find_wheel(tmp_path, Pin("a", "1.0")) is None


class Recorder(Log):
    """Runs nothing, and keeps the command."""

    def run(self, command: object, environment: object) -> tuple[int, list[str]]:
        self.command, self.environment = command, environment
        return self.answer

    answer: tuple[int, list[str]] = (0, [])


@pytest.fixture
def log(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "logs/install.log", tmp_path)


def asked(tmp_path: Path, log: Recorder, **source: str) -> str:
    Pip(tmp_path, {"X": "1"}, Source(tmp_path / "wheels", **source), log).install([PIN])
    return " ".join(log.command)  # type: ignore[attr-defined]


def test_what_pip_is_asked(tmp_path: Path, log: Recorder) -> None:
    told = asked(tmp_path, log, mirror="http://m/simple", proxy="http://p")
    assert "--require-hashes" in told and "--isolated" in told and "--no-index" not in told
    assert "--index-url http://m/simple --proxy http://p" in told
    assert log.environment["PIP_CONFIG_FILE"] == os.devnull  # type: ignore[attr-defined]
    assert {log.environment[name] for name in ("TEMP", "TMP")} == {str(tmp_path / "cache" / "tmp")}  # type: ignore[attr-defined]
    assert not re.search(r"https?://", asked(tmp_path, log)), "pip knows its own index"
    (tmp_path / "wheels").mkdir()
    assert "--find-links" in asked(tmp_path, log) and "--no-index" not in asked(tmp_path, log)
    (tmp_path / "wheels/a_b-1.0+cu130-py3-none-any.whl").touch()
    assert "--no-index" in asked(tmp_path, log, mirror="http://m/simple")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one in the lock"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [WinError 32] The process cannot access the file because it is being used", "in use"),
        ("ERROR: [WinError 5] Access is denied: 'x.dll'", "cannot be written"),
        ("ERROR: [WinError 206] The filename or extension is too long", "path is too long"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "secure connection"),
        ("NewConnectionError('<pip._vendor.urllib3>: Failed to establish: [Errno 11001] getaddrinfo failed')", "cannot be reached"),
        ("ERROR: No matching distribution found for a==1.0", "not where pip looked"),
        ("ERROR: something new", "packages were not installed (ERROR: something new)"),
    ],
)
def test_pips_failures_are_explained(tmp_path: Path, log: Recorder, line: str, words: str) -> None:
    log.answer = (1, ["Looking", line])
    with pytest.raises(UserError) as caught:
        asked(tmp_path, log)
    assert words in caught.value.message and caught.value.hint


def test_a_conflict_is_told(tmp_path: Path, log: Recorder) -> None:
    log.answer = (1, ["a 1.0 requires b, which is not installed."])
    with pytest.raises(UserError, match="do not fit together: a 1.0 requires b"):
        Pip(tmp_path, {}, Source(tmp_path / "wheels"), log).check()
    assert "could not" not in packages.explain("install", []).message


def test_the_log_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path / "logs/install.log", tmp_path)
    log.say(f"unpacked into {tmp_path}")
    assert str(tmp_path) in capsys.readouterr().out
    assert "<folder>" in (tmp_path / "logs/install.log").read_text(encoding="utf-8")


def test_the_environment_is_the_folders_own(tmp_path: Path) -> None:
    pythons = ("PYTHONPATH", "PIP_INDEX_URL", "conda_prefix", "VIRTUAL_ENV")
    libraries = (
        "HF_HUB_CACHE", "HF_TOKEN", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "DIFFUSERS_CACHE",
        "PYTORCH_PRETRAINED_BERT_CACHE", "HF_MODULES_CACHE", "ACCELERATE_MIXED_PRECISION", "Accelerate_Use_Cpu",
        "BNB_CUDA_VERSION", "bnb_rocm_version", "XFORMERS_ENABLE_TRITON", "XFORMERS_MORE_DETAILS", "XFORMERS_IGNORE_FLASH_VERSION_CHECK",
    )  # fmt: skip
    stays = {"PATH": "p", "https_proxy": "p", "HF_ENDPOINT": "p", "CUDA_VISIBLE_DEVICES": "p"}
    host = dict.fromkeys((*pythons, *libraries, "HF_HOME", "TORCH_HOME", "TRITON_CACHE_DIR"), "x") | stays | {"HF_HUB_OFFLINE": "0"}
    windows = environment.private(tmp_path, host, windows=True)
    assert [name for name, value in windows.items() if value == "x"] == [] and windows.items() >= stays.items()
    assert (windows["PIP_CONFIG_FILE"], windows["HF_HUB_OFFLINE"]) == ("nul", "1")
    linux = environment.private(tmp_path, host, windows=False)
    assert sorted(name for name, value in linux.items() if value == "x") == sorted(pythons)
    assert linux.items() >= stays.items() and "PIP_CONFIG_FILE" not in linux and linux["HF_HUB_OFFLINE"] == "1"
    assert all(windows[name] == linux[name] == str(tmp_path / "cache" / folder) for name, folder in environment.CACHES.items())


def test_every_cache_of_the_hubs_library_is_in_the_folder(root: Path) -> None:
    """The library itself, asked in a process with a host's variables, which it reads when it is imported."""
    code = "from engine import environment; import pathlib; environment.apply(pathlib.Path.cwd())\n"
    code += "from huggingface_hub import constants as it\n"
    code += "print(it.HF_HUB_CACHE, it.HF_ASSETS_CACHE, it.HF_XET_CACHE, it.HF_TOKEN_PATH, sep='\\n')"
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME")
    command = [sys.executable, "-s", "-c", code]
    answer = subprocess.run(command, cwd=root, env={**os.environ, **dict.fromkeys(names, "/x")}, capture_output=True, text=True, check=True)
    assert [Path(line).is_relative_to(root / "cache") for line in answer.stdout.splitlines()] == [True] * 4, answer.stdout
