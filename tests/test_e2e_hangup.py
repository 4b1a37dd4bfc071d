"""A terminal that is closed, a pipe that is cut: what was trained is saved, and `nohup` goes on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform == "win32", reason="terminals of Linux")]

Pictures = Callable[..., list[Path]]
SECONDS = 240.0  # for a start on a busy machine


@pytest.fixture
def command(tmp_path: Path, micro_sd: Path, pictures: Pictures) -> list[str]:
    """A run that would go on for hours, and saves every ten steps."""
    pictures(tmp_path / "data" / "1_cat", ((64, 64),) * 4)
    places = [f"--{name}_dir={tmp_path / name}" for name in ("output", "cache", "logging")]
    length = ["--max_train_steps", "100000", "--save_every_n_steps", "10", "--save_last_n_steps", "10", "--output_name", "cat"]
    size = ["--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "2", "--device", "cpu", "--learning_rate", "1e-6"]
    model = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data")]
    return [sys.executable, "-s", "-X", "utf8", "-m", "engine", "train", *model, *size, *length, *places]


def wait_for_files(folder: Path, beside: frozenset[str] = frozenset()) -> frozenset[str]:
    """Wait until the run has saved, `beside` those that are known; the names."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = frozenset(path.name for path in folder.glob("output/cat/*.safetensors")) - beside
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("the run has saved nothing")


def last_words(folder: Path) -> str:
    return (folder / "output" / "cat" / "train.log").read_text(encoding="utf-8")


def assert_saved(folder: Path) -> None:
    """The log says after which step the run stopped, and its file is there."""
    log = last_words(folder)
    assert "what was trained is saved" in log and "Traceback" not in log
    step = int(log.partition("Stopped after step ")[2].split()[0])
    assert (folder / f"output/cat/cat-step{step:08d}.safetensors").is_file()
    assert not [path for path in folder.rglob("*.part")]


@pytest.mark.parametrize("kind", ["xterm", "dumb"], ids=["with the live view", "with plain lines"])
def test_a_closed_terminal_saves(root: Path, tmp_path: Path, command: list[str], kind: str) -> None:
    import fcntl
    import pty
    import termios

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read() -> None:
        while not closed.is_set():
            if select.select([ours], [], [], 0.1)[0]:
                os.read(ours, 65536)

    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        command, cwd=root, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal, env={**os.environ, "TERM": kind}
    )
    os.close(theirs)
    closed = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_for_files(tmp_path)
    finally:
        closed.set()
        reader.join()
        os.close(ours)  # the window is gone: the system sends SIGHUP
    run.wait(SECONDS)
    assert_saved(tmp_path)


def test_a_reader_that_goes_away_does_not_end_the_training(root: Path, tmp_path: Path, command: list[str]) -> None:
    run = subprocess.Popen([*command, "--log_every_n_steps", "1"], cwd=root, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert run.stdout is not None
    known = wait_for_files(tmp_path)
    run.stdout.close()  # as `| head` or a `tee` that was killed
    wait_for_files(tmp_path, known)
    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    assert run.wait(SECONDS) == 130
    assert_saved(tmp_path)


def test_nohup_goes_on(root: Path, tmp_path: Path, command: list[str]) -> None:
    run = subprocess.Popen(["nohup", *command], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    known = wait_for_files(tmp_path)
    run.send_signal(signal.SIGHUP)
    wait_for_files(tmp_path, known)
    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    assert run.wait(SECONDS) == 130
    assert_saved(tmp_path)
