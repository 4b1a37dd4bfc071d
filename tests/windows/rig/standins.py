"""What the stand-ins for Windows' programs do (see standin.c): as much of curl, tar, certutil and nvidia-smi as Install.cmd uses, and a
powershell that records how it was called. Runs on the rig's own Python, standard library only."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath


def say(text: str) -> None:
    """A line for the caller."""
    sys.stdout.write(f"{text}\n")


def curl(words: list[str]) -> int:
    """As curl: 0, 7 (no connection), 18 (broken off), 22 (the server refuses)."""
    parser = argparse.ArgumentParser()
    for flag in ("--fail", "--location", "--silent", "--show-error"):
        parser.add_argument(flag, action="store_true")
    for option in ("retry", "retry-delay", "connect-timeout", "speed-limit", "speed-time", "continue-at", "output", "proxy"):
        parser.add_argument(f"--{option}")
    parser.add_argument("address")
    given = parser.parse_args(words)
    output = Path(given.output)
    if not given.output.isascii():
        return 23  # curl.exe fails on names outside the code page
    here = output.stat().st_size if given.continue_at == "-" and output.exists() else 0
    handlers = [urllib.request.ProxyHandler({"http": given.proxy, "https": given.proxy} if given.proxy else {})]
    request = urllib.request.Request(given.address, headers={"Range": f"bytes={here}-"} if here else {})
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
            length = int(answer.headers["Content-Length"])
            got = 0
            with open(output, "ab" if answer.status == 206 else "wb") as handle:
                while block := answer.read(65536):
                    handle.write(block)
                    handle.flush()
                    got += len(block)
            return 0 if got == length else 18
    except urllib.error.HTTPError:
        return 22
    except OSError:
        return 7


def tar(words: list[str]) -> int:
    """As bsdtar: -xf ARCHIVE -C FOLDER, --exclude, --strip-components, patterns. Stops at file STANDIN_TAR_STOPS, to be killed there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-xf", dest="archive")
    parser.add_argument("-C", dest="folder")
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("--strip-components", type=int, default=0)
    parser.add_argument("patterns", nargs="*")
    given = parser.parse_args(words)
    with zipfile.ZipFile(given.archive) as archive:
        for number, name in enumerate(archive.namelist()):
            if number == int(os.environ.get("STANDIN_TAR_STOPS", "-1")):
                Path(os.environ["STANDIN_RECORD"]).touch()
                time.sleep(600)
            parts = PurePosixPath(name).parts[given.strip_components :]
            wanted = not given.patterns or any(fnmatch.fnmatch(name, pattern) for pattern in given.patterns)
            if parts and wanted and not name.endswith("/") and PurePosixPath(name).name not in given.exclude:
                target = Path(given.folder, *parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return 0


def certutil(words: list[str]) -> int:
    """As `certutil -hashfile FILE SHA256`. It fails as often as the file STANDIN_BUSY is long, as while an antivirus holds the file."""
    path, busy = Path(words[1]), Path(os.environ.get("STANDIN_BUSY", "nul"))
    if times := busy.read_bytes():
        busy.write_bytes(times[1:])
        return 1
    if words[0] != "-hashfile" or words[2] != "SHA256" or not path.is_file():
        return 1
    say(f"SHA256 hash of {path.name}:")
    say(hashlib.sha256(path.read_bytes()).hexdigest())
    say("CertUtil: -hashfile command completed successfully.")
    return 0


def nvidia_smi(words: list[str]) -> int:
    """STANDIN_CARDS: cards as `name|driver|MiB|capability`, several parted by `;`. Without it there is no driver."""
    told = os.environ.get("STANDIN_CARDS", "")
    if not told:
        say("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
        return 9
    fields = next(word for word in words if word.startswith("--query-gpu=")).partition("=")[2].split(",")
    for card in told.split(";"):
        known = dict(zip(("name", "driver_version", "memory.total", "compute_cap"), card.split("|"), strict=True))
        say(", ".join(known[field] for field in fields))
    return 0


def powershell(words: list[str]) -> int:
    """Records its arguments in the file STANDIN_RECORD, a JSON list a line, and ends with STANDIN_STATUS."""
    with open(os.environ["STANDIN_RECORD"], "a", encoding="utf-8") as handle:
        handle.write(json.dumps(words) + "\n")
    return int(os.environ.get("STANDIN_STATUS", "0"))


PROGRAMS = {"curl": curl, "tar": tar, "certutil": certutil, "nvidia-smi": nvidia_smi, "powershell": powershell}

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1].lower()](sys.argv[2:]))
