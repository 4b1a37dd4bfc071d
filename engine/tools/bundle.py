"""`bundle`: makes what is handed out for Windows, a zip or a folder.

The bytes are the same on every machine. It holds the SHA-256 of all its files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine import __version__, doctor, downloads, fetch, files, locks
from engine.downloads import Download
from engine.errors import UserError
from engine.locks import Pin

MANIFEST = "manifest.json"
MODELS = ("models/micro/micro-sd.safetensors", "models/micro/micro-sdxl.safetensors")
_NOT_SHIPPED = re.compile(r"\.git.*|\.ci/.*")
_FRONT = re.compile(r"scripts/[^/]+\.ps1")
_SHIPPED = "scripts/shipped/"
_DATE = (1980, 1, 1, 0, 0, 0)  # a zip's zero
Say = Callable[[str], None]


def make(root: Path, out: Path, table: Mapping[str, Download], builds: Sequence[str], say: Say) -> Path:
    """Write the bundle to `out`: a zip where its name ends so, else a folder, which must not exist.

    `builds` are the builds of torch whose wheels go with it, for an offline installation; none: no wheels. What must be fetched for
    it (Python, wheels) is kept in `python_310/` and `wheels/` of `root`, checked by the table and the locks.
    Raises UserError where something is missing or `out` is taken.
    """
    if out.exists():
        raise UserError("this file or folder exists already", "remove it, or choose another place with --out", where=str(out))
    members = {name: root / source for name, source in _members(root).items()}
    fetched = {f"python_310/{table['python'].file}": _python(root, table["python"], say)}
    if builds:
        fetched.update({f"wheels/{path.name}": path for path in _wheels(root, table, builds, say)})
    long = [name for name in (*members, *fetched) if len(name) > doctor.DEEPEST]
    if long:
        raise UserError(f"this path has over {doctor.DEEPEST} characters", "shorten it", where=long[0])
    say(f"{len(members) + len(fetched)} files")
    hashes = {name: files.sha256(path) for name, path in sorted({**members, **fetched}.items())}
    manifest = {
        "version": __version__,
        "files": {name: digest for name, digest in hashes.items() if name in members},
        "fetched": {name: digest for name, digest in hashes.items() if name in fetched},
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"
    with _writer(out) as add:
        for name in hashes:
            add(name, members.get(name) or fetched[name])
        add(MANIFEST, text)
    say(f"{out}: SHA-256 {files.sha256(out)}" if out.is_file() else f"{out}")
    return out


def _members(root: Path) -> dict[str, str]:
    """Name in the bundle -> name here: what is tracked, or was in the bundle that this folder came from, and the built-in models."""
    names = _tracked(root)
    if not names:
        try:
            names = list(json.loads((root / MANIFEST).read_text(encoding="utf-8"))["files"])
        except (OSError, ValueError, KeyError) as error:
            raise UserError("this folder is neither a clone nor an unpacked bundle", "run this in one", where=str(root)) from error
    lacking = [name for name in MODELS if not (root / name).is_file()]
    if lacking:
        raise UserError("the built-in base model is not there", "clone or unpack this folder again", where=lacking[0])
    kept = [name for name in (*names, *MODELS) if not _NOT_SHIPPED.fullmatch(name) and (root / name).is_file()]
    return {(_SHIPPED + name.removeprefix("scripts/") if _FRONT.fullmatch(name) else name): name for name in kept}


def _tracked(root: Path) -> list[str]:
    """What git tracks in a clone; empty elsewhere."""
    if not (root / ".git").exists():
        return []
    try:
        answer = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"git does not say which files belong to this clone ({error})", "install git", where=str(root)) from error
    return sorted(filter(None, answer.stdout.decode("utf-8").split("\0")))


def _python(root: Path, row: Download, say: Say) -> Path:
    """Python's zip: from wheels/ or python_310/, else downloaded there."""
    folder = next((root / name for name in ("wheels", "python_310") if (root / name / row.file).is_file()), root / "python_310")
    path, vouched = downloads.get(row, folder, progress=fetch.Shown(say, "  "))
    say(f"{path.name}: {vouched}")
    return path


def _wheels(root: Path, table: Mapping[str, Download], builds: Sequence[str], say: Say) -> list[Path]:
    """All wheels of an offline installation, in wheels/."""
    folder = root / "wheels"
    names = [locks.LOCK, *([locks.CPU_LOCK] if "cpu" in builds else []), *([locks.OPTIONAL_LOCK] if set(builds) - {"cpu"} else [])]
    pins = [pin for name in names for pin in locks.read(root / name)]
    _download(pins, root, folder)
    found = [_locked(folder, pin) for pin in pins]
    for build in builds:
        if build != "cpu":
            path, vouched = downloads.get(table[f"torch-{build}"], folder, progress=fetch.Shown(say, "  "))
            say(f"{path.name}: {vouched}")
            found.append(path)
    return found


def _download(pins: Sequence[Pin], root: Path, folder: Path) -> None:
    """Get what is missing in the folder from pip's index, each wheel with its hash."""
    missing = [pin for pin in pins if locks.find_wheel(folder, pin) is None]
    if not missing:
        return
    lock = root / "cache" / "missing.lock"
    files.write_text(lock, "".join(f"{pin.line}\n" for pin in missing))
    command = [sys.executable, "-s", "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes", *locks.TARGET]
    status = subprocess.run([*command, "--dest", str(folder), "-r", str(lock)], check=False, stdin=subprocess.DEVNULL).returncode
    lock.unlink()
    if status:
        raise UserError("pip could not get all wheels", "the lines above say why; run again: it resumes there", where=str(folder))


def _locked(folder: Path, pin: Pin) -> Path:
    """The wheel of a pin. Raises UserError where it is not the one in the lock."""
    path = locks.find_wheel(folder, pin)
    if path is None or files.sha256(path) != pin.sha256:
        message = f"this folder holds no wheel of {pin.name} {pin.version} with the lock's hash"
        raise UserError(message, "delete the wrong one and run again", where=str(folder))
    return path


@contextmanager
def _writer(out: Path) -> Iterator[Callable[[str, Path | bytes], None]]:
    """What adds a file under a name, to a zip or a folder that is there only when all is written."""
    if out.suffix == ".zip":
        with files.writing(out) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            yield lambda name, content: _add(archive, name, content)
        return
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    with files.explained(out):
        yield lambda name, content: _copy(partial / name, content)
        os.replace(partial, out)


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> None:
    """An entry with no date, no owner and no compression, whose outcome differs between machines."""
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = 0o100644 << 16
    entry.create_system = 0
    entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size  # over 2 GB needs another kind of entry
    with archive.open(entry, "w") as target:
        if isinstance(content, bytes):
            target.write(content)
        else:
            with open(content, "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)


def _copy(target: Path, content: Path | bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        shutil.copyfile(content, target)
