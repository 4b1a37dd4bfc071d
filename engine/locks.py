"""The locks of the Windows bundle: exact versions with their hashes. Also where such a wheel lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError

LOCK, CPU_LOCK, OPTIONAL_LOCK = "requirements-windows.lock", "requirements-windows-cpu.lock", "requirements-windows-gpu.lock"
BUILDS = ("cu130", "cu126", "cpu")  # of torch: each is a wheel of its own, beside the locks
# What tells any pip to download for the bundle's Python. It judges markers for its own, so the pins must be complete; add --no-deps.
TARGET = ("--platform", "win_amd64", "--python-version", "3.10", "--implementation", "cp", "--only-binary", ":all:")


@dataclass(frozen=True)
class Pin:
    """One package of a lock."""

    name: str  # canonical
    version: str
    sha256: str = ""

    @property
    def line(self) -> str:
        """The pin as pip reads it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def canonical(name: str) -> str:
    """A package's name as indexes compare it.

    >>> canonical("Foo_bar.baz")
    'foo-bar-baz'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path: Path) -> list[Pin]:
    """The pins of a lock: lines `name==version --hash=sha256:...`. Raises UserError where it is missing or damaged."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    except OSError as error:
        raise UserError("the folder is incomplete: this file is missing", "unpack it again", where=path.name) from error
    found = []
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)==([\w.+!-]+) --hash=sha256:([0-9a-f]{64})", line)
        if not match:
            raise UserError(f"this line is no pin with a hash: {line}", "unpack the folder again", where=path.name)
        found.append(Pin(canonical(match[1]), match[2], match[3]))
    return found


def find_wheel(folder: Path, pin: Pin) -> Path | None:
    """The wheel of this name and version in a folder; its hash is not looked at."""
    for path in sorted(folder.glob("*.whl")):
        name, _, rest = path.name.replace("%2B", "+").partition("-")
        if canonical(name) == pin.name and rest.partition("-")[0] == pin.version:
            return path
    return None
