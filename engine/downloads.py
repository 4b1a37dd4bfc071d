"""The table of everything that is ever downloaded. `install/downloads.toml` has one row a file, with its address and its SHA-256."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import fetch, files
from engine.errors import UserError

TABLE = "install/downloads.toml"  # below the product's folder


@dataclass(frozen=True)
class Download:
    """One file: where it comes from and what it must be."""

    name: str  # of the row
    file: str  # the file's name here
    base: str = ""  # the address without `path`; a mirror stands for it. Empty: the file is part of this folder, or pip finds it
    path: str = ""  # percent-encoded, below `base`
    index: str = ""  # the publisher's own list of such files with their SHA-256, below `base`; empty: there is none
    sha256: str = ""
    size: int = 0  # bytes; 0: not known
    at_least: int = 0  # bytes

    def address(self, mirror: str = "") -> str:
        """Where the file is, there or on a mirror with the same folders."""
        return f"{(mirror or self.base).rstrip('/')}/{self.path}"

    @property
    def expected(self) -> fetch.Expected:
        """What the file must be, by this table alone."""
        return fetch.Expected(self.sha256, self.size, self.at_least)


def read(root: Path) -> dict[str, Download]:
    """The rows by name. Raises UserError where the table is missing or damaged."""
    path = root / TABLE
    parse = _parser()
    try:
        table = parse(path.read_text(encoding="utf-8"))
        return {name: Download(name, **row) for name, row in table.items()}
    except (OSError, ValueError, TypeError) as error:
        hint = "the folder is incomplete: unpack or clone it again"
        raise UserError(f"the table of downloads cannot be read ({error})", hint, where=TABLE) from error


def hub(root: Path, mirror: str = "") -> str:
    """The hub's address, or that of a mirror of it: the one that is named, else what the variable HF_ENDPOINT says."""
    return (mirror or os.environ.get("HF_ENDPOINT", "")).rstrip("/") or read(root)["hub"].base


def get(row: Download, folder: Path, mirror: str = "", progress: fetch.Progress = fetch.nothing) -> tuple[Path, str]:
    """The file of a row in `folder`, downloaded if it is not there, and a sentence that says what vouches for it.

    A file that is there and wrong is removed. Raises UserError where it cannot be had, or nothing vouches for it.
    """
    target = folder / row.file
    digest = files.sha256(target) if target.is_file() else ""
    if not digest:
        digest = fetch.fetch(row.address(mirror), target, fetch.Expected(size=row.size, at_least=row.at_least), progress)
    try:
        return target, vouch(row, digest)
    except UserError as error:
        target.unlink()
        raise UserError(f"{error.message}; it was removed", error.hint, where=row.file) from error


def vouch(row: Download, digest: str) -> str:
    """Who says that a file with this SHA-256 is the right one: our table, or the publisher's own index (never a mirror's).

    Raises UserError where neither does.
    """
    if digest == row.sha256.lower():
        return f"SHA-256 {digest[:16]}... as in {TABLE}"
    published = _published(row) if row.index else ""
    if published and digest == published:
        return f"SHA-256 {digest[:16]}... as in the publisher's own index ({TABLE} has {row.sha256[:16]}...)"
    wanted = f"{row.sha256} was expected" + (f", and the publisher's index has {published or 'no such file'}" if row.index else "")
    hint = "run again to download it anew; if this stays, the source is bad: use another"
    raise UserError(f"not the right file: its SHA-256 is {digest}, and {wanted}", hint, where=row.file)


def _published(row: Download) -> str:
    """The SHA-256 in the link that the publisher's index gives for this file; empty where there is none."""
    page = fetch.text(f"{row.base.rstrip('/')}/{row.index}")
    name = re.escape(row.path.rpartition("/")[2])
    match = re.search(rf'href="[^"]*{name}#sha256=([0-9a-f]{{64}})"', page)
    return match[1] if match else ""


def _parser() -> Callable[[str], dict[str, Any]]:
    """A TOML parser: tomli, or before the packages are installed pip's copy of it."""
    try:
        import tomli
    except ImportError:
        from pip._vendor import tomli  # type: ignore[no-redef]  # the same, before the packages are installed
    parse: Callable[[str], dict[str, Any]] = tomli.loads
    return parse
