"""Makes the locks of the Windows bundle from requirements*.txt. They hold exact versions with the SHA-256 of their wheels. It is called so:

    python -m recipes.lock_windows [--wheels cache/windows-wheels]

Markers are judged for Python 3.10 on win_amd64, whatever this runs on. The wheels come from pip's index and stay in the folder (about
360 MB), for the tests and for `python -m engine bundle`. That the locks are complete is proven by installing them: `pytest -m windows`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import doctor, files, locks
from engine.locks import Pin

PYTHON, SYSTEM = (3, 10), "win32"
FOLDER = Path("cache/windows-wheels")
_HEAD = """\
# {what}: exact versions for Python 3.10 on Windows (win_amd64), each with the SHA-256 of its wheel.
# Made by `python -m recipes.lock_windows` from {source}; do not edit.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lock_windows")
    parser.add_argument("--wheels", type=Path, default=FOLDER, help=f"where the wheels are kept ({FOLDER.as_posix()})")
    folder: Path = parser.parse_args(arguments).wheels
    root = Path(__file__).resolve().parent.parent
    wanted = doctor.pins(root / "requirements.txt", PYTHON, SYSTEM)
    optional = doctor.pins(root / "requirements-gpu.txt", PYTHON, SYSTEM)
    download({**wanted, **optional}, folder)
    torch = {"torch": wanted.pop("torch")}
    for name, what, pins, source in (
        (locks.LOCK, "Everything but torch", wanted, "requirements.txt"),
        (locks.CPU_LOCK, "torch for the CPU (for NVIDIA cards: install/downloads.toml)", torch, "requirements.txt"),
        (locks.OPTIONAL_LOCK, "Optional, and only for NVIDIA cards", optional, "requirements-gpu.txt"),
    ):
        files.write_text(root / name, _HEAD.format(what=what, source=source) + lock(pins, folder))
        print(f"{name}: {len(pins)} packages")
    return 0


def download(pins: dict[str, str], folder: Path) -> None:
    """Put the wheels of these pins into a folder, by the running Python's pip with its own settings. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [f"{name}=={version}" for name, version in pins.items() if locks.find_wheel(folder, Pin(name, version)) is None]
    if missing:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", *locks.TARGET]
        subprocess.run([*command, "--dest", str(folder), *missing], check=True)


def lock(pins: dict[str, str], folder: Path) -> str:
    """The lines of a lock, sorted by name. Raises FileNotFoundError where a wheel is missing."""
    lines = []
    for name, version in sorted(pins.items()):
        path = locks.find_wheel(folder, Pin(name, version))
        if path is None:
            raise FileNotFoundError(f"{folder} holds no wheel of {name} {version}")
        lines.append(Pin(name, version, files.sha256(path)).line + "\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
