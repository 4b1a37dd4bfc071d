"""What pip has installed, by its own RECORD files. They tell what is whole, what must go, and what would tie the folder to its place."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine import files
from engine.locks import canonical

_SCRIPTS = "../../Scripts/"  # as RECORD names it; launchers there hold this folder's path and break when it moves
_ORIGIN = "direct_url.json"  # where a local wheel lay
_LICENCES = "licenses/ALL.txt"


@dataclass(frozen=True)
class Package:
    """One `<name>-<version>.dist-info` folder."""

    name: str  # canonical
    version: str
    info: Path


def installed(site: Path) -> list[Package]:
    """The packages of a site-packages folder, half-installed ones too."""
    found = []
    for info in sorted(site.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        found.append(Package(canonical(name), version, info))
    return found


def damage(package: Package) -> str:
    """What is wrong with an installed package; empty where every file that RECORD lists is there in its right size."""
    rows = _rows(package.info / "RECORD")
    if not any(row[0] == f"{package.info.name}/INSTALLER" for row in rows):  # pip writes RECORD anew as its last act
        return "its installation was not finished"
    site = package.info.parent
    for name, _, size in rows:
        if not size:
            continue
        try:
            here = (site / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if here != int(size):
            return f"{name} has {here:,} bytes and not {int(size):,}"
    return ""


def remove(package: Package) -> None:
    """Delete a package, whole or half-installed: what its RECORD lists, and its dist-info folder last."""
    site = package.info.parent
    home = site.parent.parent
    folders = set()
    for name, _, _ in _rows(package.info / "RECORD"):
        path = Path(os.path.normpath(site / name))
        if home in path.parents and package.info not in path.parents:
            folders.add(path.parent)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        _prune(folder, site)
    shutil.rmtree(package.info)


def remove_remains(site: Path) -> None:
    """Delete what a killed pip leaves: folders that it moved aside under a name with a tilde."""
    for path in site.glob("~*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def tidy(site: Path) -> None:
    """Make the installation movable: no launchers in Scripts, no record of where a wheel lay, and RECORD files that agree."""
    for package in installed(site):
        path = package.info / "RECORD"
        rows = _rows(path)
        kept = [row for row in rows if not row[0].startswith(_SCRIPTS) and not row[0].endswith(f".dist-info/{_ORIGIN}")]
        if len(kept) < len(rows):
            files.write_bytes(path, _table(kept))
        with contextlib.suppress(FileNotFoundError):
            (package.info / _ORIGIN).unlink()
    scripts = site.parent.parent / "Scripts"
    if scripts.is_dir():
        shutil.rmtree(scripts)


def gather_licences(wheel: Path, target: Path) -> None:
    """Copy a wheel to `target` with all its licence texts in one file: Explorer cannot copy the deep folders that torch keeps them in.

    The copy's directory is written anew; what it no longer lists stays in it as unused bytes, so that gigabytes need not be packed again.
    """
    with files.writing(target) as partial:
        shutil.copyfile(wheel, partial)
        with zipfile.ZipFile(partial, "a", zipfile.ZIP_DEFLATED) as archive:
            info = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD")).partition("/")[0]
            deep = [name for name in archive.namelist() if name.startswith(f"{info}/licenses/")]
            texts = [name for name in deep if not name.endswith("/")]
            gathered = b"".join(_headed(name, archive.read(name)) for name in texts)
            metadata = _without_licence_list(archive.read(f"{info}/METADATA"))
            new = {f"{info}/{_LICENCES}": gathered, f"{info}/METADATA": metadata}
            rows = [row for row in _parse(archive.read(f"{info}/RECORD").decode("utf-8")) if row[0] not in {*texts, *new}]
            rows[-1:-1] = [(name, _hash(data), str(len(data))) for name, data in new.items()]
            _drop(archive, {*deep, f"{info}/METADATA", f"{info}/RECORD"})
            for name, data in {**new, f"{info}/RECORD": _table(rows)}.items():
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def _headed(name: str, text: bytes) -> bytes:
    return f"{'=' * 100}\n{PurePosixPath(*PurePosixPath(name).parts[2:])}\n{'=' * 100}\n".encode() + text + b"\n"


def _without_licence_list(metadata: bytes) -> bytes:
    """A METADATA file that names the one text in place of the many."""
    head, gap, body = metadata.partition(b"\n\n")
    lines = [line for line in head.split(b"\n") if not line.startswith(b"License-File:")]
    return b"\n".join([*lines, f"License-File: {_LICENCES.partition('/')[2]}".encode()]) + gap + body


def _drop(archive: zipfile.ZipFile, names: Iterable[str]) -> None:
    """Leave these entries out of the directory that is written when the archive is closed."""
    for name in names:
        archive.filelist.remove(archive.NameToInfo.pop(name))


def _rows(record: Path) -> list[tuple[str, str, str]]:
    """(path, hash, size) as a RECORD file lists them; none where the file is missing or unreadable."""
    try:
        return _parse(record.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return []


def _parse(text: str) -> list[tuple[str, str, str]]:
    return [(row[0], row[1], row[2]) for row in csv.reader(io.StringIO(text)) if len(row) == 3]


def _table(rows: Iterable[tuple[str, str, str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8")


def _hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")


def _prune(folder: Path, site: Path) -> None:
    """Remove a folder that is empty but for compiled files, and those above it, up to site-packages."""
    while site in folder.parents and folder.is_dir():
        rest = list(folder.iterdir())
        if any(path.name != "__pycache__" for path in rest):
            return
        shutil.rmtree(folder)
        folder = folder.parent
