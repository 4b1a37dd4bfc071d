"""What a newer zip brings, unpacked over this folder, and takes away. Front scripts are put in place, files of the past are removed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from engine import files
from engine.errors import UserError

MANIFEST = "manifest.json"  # beside Install.cmd in what `python -m engine bundle` makes; a clone has none
EARLIER = "install/installed.json"  # the manifest as it was when Install.cmd last ran
SHIPPED = "scripts/shipped/"  # where the zip keeps the front scripts, so that unpacking it overwrites no edited one
_VARIABLE = re.compile(r"^\$(\w+)\s*=", re.MULTILINE)


@dataclass
class Changes:
    """What was done, for the log."""

    placed: list[str] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)  # an edited script -> the variables that only the shipped one has
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # no longer part of the product, but edited


def update(root: Path) -> Changes | None:
    """Do what the manifest asks; None in a clone. May be interrupted and repeated. Raises UserError where the folder is incomplete."""
    new = read_manifest(root / MANIFEST)
    if new is None:
        return None
    missing = [name for name in new if not (root / name).is_file()]
    if missing:
        hint = "unpack the whole zip again over this folder, then run Install.cmd again"
        raise UserError(f"the folder is incomplete: {_few(missing)} missing", hint)
    old = read_manifest(root / EARLIER) or {}
    changes = Changes()
    wheels = read_manifest(root / MANIFEST, "fetched") or {}
    if any(name.startswith("wheels/") for name in wheels):  # an offline bundle brings all that it needs: the former's are of no use
        stale = read_manifest(root / EARLIER, "fetched") or {}
        old.update({name: digest for name, digest in stale.items() if name not in wheels})
    for name in new:
        if name.startswith(SHIPPED):
            _place(root, name, {new[name], old.get(name, "")}, changes)
    for name in old:
        if name not in new:
            _remove(root, name, old[name], changes)
    files.write_bytes(root / EARLIER, (root / MANIFEST).read_bytes())
    return changes


def read_manifest(path: Path, part: str = "files") -> dict[str, str] | None:
    """Path (with slashes) -> SHA-256 of a version's files; None where there is no such manifest. Raises UserError for a damaged one.

    `part` is "files" for the product's own, "fetched" for what others made (Python, wheels).
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))[part]
        return {str(name): str(digest) for name, digest in table.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"the list of files is damaged ({error})", "unpack the zip again over this folder", where=path.name) from error


def _place(root: Path, name: str, ours: set[str], changes: Changes) -> None:
    """Put a front script where users run it, unless they have edited the one there."""
    shipped = root / name
    target = root / "scripts" / name.removeprefix(SHIPPED)
    if not target.exists() or (files.sha256(target) in ours and files.sha256(target) != files.sha256(shipped)):
        with files.writing(target) as partial:
            shutil.copyfile(shipped, partial)
        changes.placed.append(target.name)
    elif files.sha256(target) not in ours:
        theirs = {variable.lower() for variable in variables(target)}
        changes.kept[target.name] = [variable for variable in variables(shipped) if variable.lower() not in theirs]


def variables(script: Path) -> list[str]:
    """The variables that a front script sets at the start of a line, in order, without the dollar sign."""
    return list(dict.fromkeys(_VARIABLE.findall(script.read_text(encoding="utf-8-sig", errors="replace"))))


def _remove(root: Path, name: str, digest: str, changes: Changes) -> None:
    """Delete what an earlier version brought and this one does not, if it is still as it was brought."""
    path = root / name
    if name.startswith(SHIPPED):  # a front script that is no longer part of the product goes with its copy
        copy = root / "scripts" / name.removeprefix(SHIPPED)
        if copy.is_file():
            _remove(root, copy.relative_to(root).as_posix(), digest, changes)
    if not path.is_file():
        return
    if files.sha256(path) != digest:
        changes.left.append(name)
        return
    path.unlink()
    changes.removed.append(name)
    for folder in path.parents:
        if folder == root or any(entry.name != "__pycache__" for entry in folder.iterdir()):
            break
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'}"
