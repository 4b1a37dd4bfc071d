"""The packages of the locks: what is not installed as it should be. Also pip's work, checked and explained."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.errors import UserError
from engine.locks import Pin, find_wheel
from install import records
from install.log import Log

_ELSEWHERE = "run again; behind a proxy, or where the index is slow: set proxy or pip_mirror at the top of Install.cmd"


@dataclass(frozen=True)
class Reason:
    """What pip's output holds where this is the matter, what it means, and what to do."""

    pattern: str
    meaning: str
    hint: str


_REASONS = (  # the first that fits
    Reason(
        r"DO NOT MATCH THE HASHES",
        "a downloaded package is not the one in the lock",
        "run again; if this stays, the source is bad: use another pip_mirror",
    ),
    Reason(r"No space left on device|WinError 112", "the disk is full", "free 10 GB on this drive and run again"),
    Reason(
        r"WinError 32|being used by another process",
        "a file is in use",
        "close every program that uses this folder (training, TensorBoard) and run again",
    ),
    Reason(
        r"WinError 5\b|PermissionError|Access is denied",
        "a file cannot be written",
        "close what uses this folder, or move it to a folder of your own; then run again",
    ),
    Reason(
        r"WinError 206|Filename too long|WinError 3\b",
        "a path is too long",
        "move this folder to a shorter path, such as D:\\lora, and run again",
    ),
    Reason(
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "no secure connection could be made",
        "check the PC's clock; an antivirus or a proxy that reads along needs its certificate in Windows",
    ),
    Reason(
        r"getaddrinfo|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|ConnectionError|Connection\w+Error|Max retries",
        "the package index cannot be reached",
        _ELSEWHERE,
    ),
    Reason(r"No matching distribution|Could not find a version", "a package is not where pip looked for it", _ELSEWHERE),
)


@dataclass(frozen=True)
class Source:
    """Where pip gets packages. What lies in `wheels` comes first, and is all that is asked where nothing else is needed."""

    wheels: Path
    mirror: str = ""
    proxy: str = ""
    cache: Path | None = None


class Pip:
    """pip of this Python, deaf to the host's settings for it."""

    def __init__(self, root: Path, environment: Mapping[str, str], source: Source, log: Log) -> None:
        self._root = root
        self._temporary = root / "cache" / "tmp"  # pip unpacks there: the user's own may be on a drive that is full
        places = dict.fromkeys(("TEMP", "TMP", "TMPDIR"), str(self._temporary))
        self._environment = {**environment, **places, "PIP_CONFIG_FILE": os.devnull}
        self._source = source
        self._log = log

    def install(self, pins: Sequence[Pin]) -> None:
        """Install exactly these, each only with the hash that its line has. Raises UserError."""
        self._with_lock("install", pins, "--require-hashes", "--ignore-installed", "--no-compile", "--no-warn-script-location")

    def install_file(self, wheel: Path) -> None:
        """Install one wheel whose content was checked before. Raises UserError."""
        self._run("install", "--no-index", "--no-deps", "--ignore-installed", "--no-compile", "--no-warn-script-location", str(wheel))

    def download(self, pins: Sequence[Pin], folder: Path) -> None:
        """Put the wheels of these pins into a folder. Raises UserError."""
        self._with_lock("download", pins, "--require-hashes", "--dest", str(folder))

    def check(self) -> None:
        """Ask pip whether every package finds what it needs. Raises UserError."""
        self._run("check")

    def _with_lock(self, command: str, pins: Sequence[Pin], *options: str) -> None:
        lock = self._root / "cache" / "wanted.lock"
        files.write_text(lock, "".join(f"{pin.line}\n" for pin in pins))
        self._run(command, "--no-deps", *options, *self._where(pins), "-r", str(lock))
        lock.unlink()

    def _where(self, pins: Sequence[Pin]) -> list[str]:
        source, words = self._source, []
        if source.wheels.is_dir():
            words = ["--find-links", str(source.wheels)]
        if words and all(find_wheel(source.wheels, pin) for pin in pins):
            return [*words, "--no-index"]
        return [*words, *(["--index-url", source.mirror] if source.mirror else []), *(["--proxy", source.proxy] if source.proxy else [])]

    def _run(self, command: str, *words: str) -> None:
        general = ["--isolated", "--no-input", "--disable-pip-version-check", "--no-color"]
        cache = ["--cache-dir", str(self._source.cache)] if self._source.cache else ["--no-cache-dir"]
        quiet = ["--progress-bar", "off"] if command in ("install", "download") else []
        line = [sys.executable, "-s", "-X", "utf8", "-m", "pip", *general, *cache, command, *quiet, *words]
        self._temporary.mkdir(parents=True, exist_ok=True)
        status, said = self._log.run(line, self._environment)
        if status != 0:
            raise explain(command, said)


def explain(command: str, said: Sequence[str]) -> UserError:
    """pip's failure as something a person can act on."""
    if command == "check":
        hint = "delete python_310\\Lib\\site-packages and run Install.cmd again"
        return UserError(f"the packages do not fit together: {'; '.join(said)}", hint)
    text = "\n".join(said)
    last = next((line for line in reversed(said) if line.startswith("ERROR:")), said[-1] if said else "it said nothing")
    for reason in _REASONS:
        if re.search(reason.pattern, text):
            return UserError(f"{reason.meaning} ({last})", reason.hint, where="pip")
    hint = "run again; if it stays the same, put logs\\install.log into a bug report"
    return UserError(f"packages were not installed ({last})", hint, where="pip")


def wanting(pins: Sequence[Pin], site: Path) -> list[tuple[Pin, str]]:
    """The pins that are not installed whole and in this version, each with what is wrong; what there is of those is removed."""
    here: dict[str, list[records.Package]] = {}
    for package in records.installed(site):
        here.setdefault(package.name, []).append(package)
    found = []
    for pin in pins:
        packages = here.get(pin.name, [])
        wrong = "" if packages else "not installed"
        for package in packages:
            fault = records.damage(package) if package.version == pin.version else f"{package.version} is installed"
            if fault:
                records.remove(package)
                wrong = fault
        if wrong:
            found.append((pin, wrong))
    return found
