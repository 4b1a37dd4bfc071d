"""scripts/*.sh with a stand-in for Python: what they install, when they do it again, and what they say where they cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these are the Linux scripts")

# Records its calls; makes a virtual environment by copying itself; `pip install` ends with the status in the file `pip status`.
STAND_IN = """#!/bin/sh
here="$(dirname "$0")"
for word in "$@"; do last="$word"; done
case "$*" in
    *"import sys, ensurepip"*) [ ! -e "$here/no ensurepip" ] ;;
    *"import sys"*) [ ! -e "$here/too old" ] ;;
    "--version") echo "Python 3.11.7" ;;
    *"-m venv"*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python" && echo venv >>"$CALLS" ;;
    *)
        shift 3
        echo "$* [$(pwd)]" >>"$CALLS"
        case "$*" in
            *"pip install"*) exit "${PIP_STATUS:-0}" ;;
            *"engine train"*) exit "${TRAIN_STATUS:-0}" ;;
        esac ;;
esac
"""


class Bench:
    """A copy of the scripts in an awkward folder, with `python3.11` and a few tools on the PATH and nothing else."""

    def __init__(self, root: Path, place: Path) -> None:
        self.folder = place / "測試 folder"
        self.bin = place / "bin"
        self.calls = place / "calls.txt"
        shutil.copytree(root / "scripts", self.folder / "scripts")
        for file in root.glob("requirements*.txt"):
            shutil.copy(file, self.folder)
        self.bin.mkdir()
        for tool in ("bash", "dirname", "cat", "rm", "mkdir", "cp", "sh"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.python = self.bin / "python3.11"
        self.python.write_text(STAND_IN, encoding="utf-8")
        self.python.chmod(0o755)

    def run(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "HOME": str(self.folder), "CALLS": str(self.calls), "LC_ALL": "C.UTF-8", **settings}
        command = ["bash", str(self.folder / "scripts" / script), *arguments]
        return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, encoding="utf-8", check=False)

    def said(self) -> list[str]:
        """The calls since the last look."""
        lines = self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def bench(root: Path, tmp_path: Path) -> Bench:
    return Bench(root, tmp_path)


def test_train_sets_up_once_and_trains_the_demo(bench: Bench) -> None:
    first = bench.run("train.sh", "--max_train_steps", "2")
    assert first.returncode == 0, first.stderr
    here = f"[{bench.folder}]"
    demo = [f"-m engine train --config=configs/demo.toml --max_train_steps 2 {here}"]
    assert bench.said() == ["venv", f"-m pip install -q --disable-pip-version-check -rrequirements.txt {here}", *demo]
    second = bench.run("train.sh", "--max_train_steps", "2")
    assert second.returncode == 0 and second.stdout == "" and bench.said() == demo


def test_a_config_of_the_users_own_leaves_the_demo_out(bench: Bench) -> None:
    bench.run("setup.sh")
    bench.said()
    assert bench.run("train.sh", "--config=my run.toml").returncode == 0
    assert bench.said() == [f"-m engine train --config=my run.toml [{bench.folder}]"]


def test_a_pasted_line_leaves_the_demo_out(bench: Bench) -> None:
    bench.run("setup.sh")
    bench.said()
    line = ["accelerate", "launch", "--num_processes", "1", "./sd-scripts/train_network.py", "--network_dim=8"]
    assert bench.run("train.sh", *line).returncode == 0
    assert bench.said() == [f"-m engine train {' '.join(line)} [{bench.folder}]"]


def test_the_engines_status_is_the_scripts_status(bench: Bench) -> None:
    assert bench.run("train.sh", TRAIN_STATUS="130").returncode == 130


def test_a_failed_installation_is_done_again(bench: Bench) -> None:
    broken = bench.run("setup.sh", PIP_STATUS="1")
    assert broken.returncode == 1 and "hint: " in broken.stderr and "ready" not in broken.stdout
    bench.said()
    assert bench.run("setup.sh").returncode == 0
    (again,) = bench.said()  # the environment itself was whole
    assert "pip install" in again


def test_a_killed_installation_starts_from_nothing(bench: Bench) -> None:
    bench.python.write_text(STAND_IN.replace('exit "${PIP_STATUS:-0}"', "kill -9 $PPID"), encoding="utf-8")
    assert bench.run("setup.sh").returncode != 0
    bench.python.write_text(STAND_IN, encoding="utf-8")
    bench.said()
    assert bench.run("setup.sh").returncode == 0
    assert [line.split()[0] for line in bench.said()] == ["venv", "-m"]
    assert not (bench.folder / ".venv/interrupted").exists()


def test_changed_pins_are_installed(bench: Bench) -> None:
    bench.run("setup.sh", "--dev")
    bench.said()
    assert bench.run("setup.sh").returncode == 0 and bench.said() == []  # the tests' packages include the engine's
    with open(bench.folder / "requirements.txt", "a", encoding="utf-8") as handle:
        handle.write("one-more==1\n")
    bench.run("setup.sh")
    assert len(bench.said()) == 1


def test_a_broken_environment_is_made_again(bench: Bench) -> None:
    bench.run("setup.sh")
    bench.said()
    (bench.folder / ".venv/bin/python").unlink()
    bench.run("setup.sh")
    assert [line.split()[0] for line in bench.said()] == ["venv", "-m"]


def test_without_a_python(bench: Bench) -> None:
    bench.python.unlink()
    answer = bench.run("train.sh")
    assert answer.returncode == 1 and "no Python from 3.10 to 3.14" in answer.stderr and "hint: install one" in answer.stderr


def test_an_old_python_does_not_count(bench: Bench) -> None:
    (bench.bin / "too old").touch()
    (bench.bin / "no ensurepip").touch()
    assert "no Python from 3.10 to 3.14" in bench.run("train.sh").stderr


def test_without_the_venv_module(bench: Bench) -> None:
    (bench.bin / "no ensurepip").touch()
    answer = bench.run("train.sh")
    assert answer.returncode == 1 and "apt-get install python3-venv" in answer.stderr


def test_a_named_python_is_used_or_refused(bench: Bench) -> None:
    other = bench.bin / "my python"
    bench.python.rename(other)
    assert bench.run("setup.sh", PYTHON=str(other)).returncode == 0
    shutil.rmtree(bench.folder / ".venv")
    answer = bench.run("setup.sh", PYTHON="/nowhere/python")
    assert answer.returncode == 1 and "/nowhere/python" in answer.stderr


@pytest.mark.parametrize(("status", "words"), [("0", ""), ("1", "could not be installed; everything else works")])
def test_packages_for_a_card_never_fail_the_set_up(bench: Bench, status: str, words: str) -> None:
    card = bench.bin / "nvidia-smi"
    card.write_text("#!/bin/sh\n", encoding="utf-8")
    card.chmod(0o755)
    stand_in = STAND_IN.replace('*"pip install"*) exit', f'*requirements-gpu.txt*) exit {status} ;; *"pip install"*) exit')
    bench.python.write_text(stand_in, encoding="utf-8")
    answer = bench.run("setup.sh")
    assert answer.returncode == 0 and words in answer.stdout and "ready" in answer.stdout
    assert "-r requirements-gpu.txt -c requirements.txt" in bench.said()[-1]


def test_the_hosts_python_settings_do_not_reach_in(bench: Bench) -> None:
    bench.python.write_text(
        STAND_IN.replace('echo "$* [$(pwd)]"', 'echo "$PYTHONPATH|$VIRTUAL_ENV|$HF_HUB_OFFLINE|$HF_HOME"'), encoding="utf-8"
    )
    bench.run("train.sh", PYTHONPATH="/elsewhere", VIRTUAL_ENV="/elsewhere", HF_HOME="/elsewhere", CDPATH=os.sep)
    assert bench.said()[-1] == f"||1|{bench.folder}/cache/huggingface"


def test_unknown_option_of_setup(bench: Bench) -> None:
    answer = bench.run("setup.sh", "--gpu")
    assert answer.returncode == 1 and "`--gpu`" in answer.stderr
