"""A tagger's folder: which files are there, which are missing or of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from engine import files
from engine.errors import UserError
from engine.taggers.models import INSTEAD, Remote, Tagger

_OTHERS = {".h5": "a TensorFlow model", ".pb": "a TensorFlow model", ".pt": "a PyTorch model", ".ckpt": "a PyTorch model"}
_OTHER_NAMES = {"project.json": "a TensorFlow project"}


def find(row: Tagger, models: Path) -> Path:
    """Where a tagger's files are: `models/<name>`, or as sd-scripts names it `models/<owner>_<page>`, or `models` itself.

    Where none of them has its ONNX file, the first.
    """
    own = models / row.name
    sub = row.files[0].path.rpartition("/")[0]
    theirs = models / row.repo.replace("/", "_")
    return next((folder for folder in (own, theirs / sub, theirs, models) if (folder / row.model).is_file()), own)


def missing(row: Tagger, folder: Path) -> tuple[Remote, ...]:
    """The files that a tagger's folder lacks."""
    return tuple(file for file in row.files if not (folder / file.name).is_file())


def require_kind(row: Tagger, folder: Path) -> None:
    """Raise UserError where the folder holds a model of a kind that is not run here, or a page or pointer in place of the model."""
    path = folder / row.model
    if path.is_file():
        with files.reading(path), open(path, "rb") as handle:
            begin = handle.read(200)
        if begin.startswith(b"version https://git-lfs"):
            raise UserError("this is a pointer of Git LFS, not the model itself", "download the file from its page", where=str(path))
        if begin.lstrip()[:1] == b"<":
            raise UserError("this is a web page, not a model", "download the file itself", where=str(path))
        return
    for found in sorted(folder.iterdir()) if folder.is_dir() else ():
        kind = _OTHERS.get(found.suffix.lower()) or _OTHER_NAMES.get(found.name.lower())
        if kind:
            raise UserError(f"this is {kind}, which is not run here", INSTEAD, where=str(found))


def address(row: Tagger, file: Remote, hub: str) -> str:
    """Where a file is on the hub."""
    return f"{hub}/{row.repo}/resolve/{row.revision}/{quote(file.path)}"


def lacking(row: Tagger, folder: Path, hub: str) -> UserError:
    """What to say where files are missing and cannot be downloaded: which, from where, to where."""
    wanted = [f"  {address(row, file, hub)}{_size(file)}\n    -> {folder / file.name}" for file in missing(row, folder)]
    if row.gated:
        how = f"its page gives them to a signed-in user who agreed to its licence, in a browser: {hub}/{row.repo}"
    else:
        how = f"get them with `python -m engine download tagger {row.name}`, or by hand:"
    return UserError(f"the tagger {row.name} is not here: {_listed(row, folder)}", "\n".join([how, *wanted]), where=str(folder))


def _listed(row: Tagger, folder: Path) -> str:
    return ", ".join(file.name for file in missing(row, folder)) + " missing"


def _size(file: Remote) -> str:
    return f"  ({megabytes(file.size)})" if file.size else ""


def megabytes(size: int) -> str:
    """A size for a person: `1,426 MB`."""
    return f"{max(size / 1e6, 0.1):,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def differences(row: Tagger, folder: Path, hashes: Sequence[str]) -> list[str]:
    """A line on each file that is another than the recorded one, with both values; `hashes` are those of the files here."""
    found = []
    for file, digest in zip(row.files, hashes, strict=True):
        size = (folder / file.name).stat().st_size
        if file.sha256 and digest != file.sha256:
            told = f"SHA-256 {digest} ({size:,} bytes), recorded is {file.sha256} ({file.size:,} bytes)"
            found.append(f"{folder / file.name}: {told}; it is used if its labels and shapes fit")
    return found
