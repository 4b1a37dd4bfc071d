"""Where `sample` puts its work: names of pictures, a page for each call.

A picture is named by what is in it. Nothing is replaced by anything else.

A picture's name ends in the first digits of its file's SHA-256. The file holds the pixels and the text of how they were made, so whatever
differs (a LoRA, a base model, a prompt, a setting) gives another file; the same picture made again is the same file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from engine import files
from engine.errors import UserError
from engine.generation import page
from engine.generation.page import Record, Row
from engine.generation.prompt import Shot

NAME = "compare"  # of the page, and of the pictures' folder beside it
_DIGITS = 8
_NAME_BYTES = 120  # of a picture's name may be its LoRA's; a file system allows 255, and a temporary name needs some more


def place(wanted: Path | None, lora: Path | None, fallback: Path) -> tuple[Path, str]:
    """The folder, absolute, that page and pictures go into, and what should be said of the choice.

    `wanted` is what the user named. Without it, it is the folder of `lora`; `fallback`, where there is no LoRA or its folder refuses.
    Raises UserError where nothing can be written.
    """
    if wanted is not None:
        return _writable(wanted), ""
    told = "no LoRA is named"
    if lora is not None:
        try:
            return _writable(lora.parent), ""
        except UserError as error:
            told = f"{error.where}: {error.message}"
    folder = _writable(fallback)
    return folder, f"{told}; the pictures go to {folder}"


def _writable(folder: Path) -> Path:
    """The folder, absolute and there. Raises UserError where page or pictures cannot be written; a folder for these is not made yet."""
    folder = Path(os.path.realpath(folder))
    pictures = folder / NAME
    try:
        files.require_writable(folder)
        if files.is_there(pictures):
            files.require_writable(pictures)
    except UserError as error:
        raise UserError(error.message, "name another folder with --out", where=error.where) from error
    return folder


def distinct(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Paths in their order, each file once; and apart from them those that name a file again."""
    found: dict[str, Path] = {}
    again: list[Path] = []
    for path in paths:
        key = os.path.normcase(os.path.realpath(path))
        if key in found:
            again.append(path)
        else:
            found[key] = path
    return list(found.values()), again


def labels(paths: Sequence[Path]) -> tuple[str, ...]:
    """A short name for each of several files: the file's, with as many folders before it as tell it from the others.

    >>> labels([Path("a/x.safetensors"), Path("b/x.safetensors"), Path("a/y.safetensors"), Path("c/z.safetensors"), Path("c/z.pt")])
    ('a/x', 'b/x', 'y', 'z.safetensors', 'z.pt')
    """
    whole = [Path(os.path.realpath(path.parent), path.name) for path in paths]
    short = [path.with_suffix("") for path in whole]
    parts = [(path if short.count(cut) > 1 else cut).parts for path, cut in zip(whole, short, strict=True)]

    def told_apart(own: tuple[str, ...]) -> str:
        counts = (count for count in range(1, len(own)) if sum(other[-count:] == own[-count:] for other in parts) == 1)
        return PurePath(*own[-next(counts, len(own)) :]).as_posix()

    return tuple(map(told_apart, parts))


class Page:
    """The page of one call: claimed with its first row, and written anew with each further one, in the order in which they come."""

    def __init__(self, folder: Path, shots: Sequence[Shot]) -> None:
        """`folder` gets the page, and the pictures below it. `shots` are the columns."""
        self._folder = folder
        self._record = Record(folder.name, tuple(shots))
        self._path: Path | None = None

    def keep(self, stem: str, tag: str, data: bytes) -> Path:
        """Write a picture, named by what made it (`stem`, cut where it is very long), `tag` and content; returns its path.

        A file of its name with the same bytes is left alone, any other is passed by. Raises UserError where it cannot be written.
        """
        short = stem.encode()[:_NAME_BYTES].decode(errors="ignore")
        name = f"{short}_{tag}_{hashlib.sha256(data).hexdigest()[:_DIGITS]}"
        number = 1
        while True:
            target = self._folder / NAME / f"{_numbered(name, number)}.png"
            if not files.is_there(target):
                files.write_bytes(target, data)
                return target
            with files.reading(target):
                if target.read_bytes() == data:
                    return target
            number += 1

    def add(self, row: Row, pictures: Sequence[Path]) -> Path:
        """Show a row, a picture for each shot; returns the page. Raises UserError where it cannot be written."""
        cells = {column: picture.relative_to(self._folder).as_posix() for column, picture in enumerate(pictures)}
        self._record = replace(self._record, rows=(*self._record.rows, replace(row, cells=cells)))
        text = page.render(self._record, page.FILES)
        if self._path is None:
            self._path = claim(self._folder, text)
        else:
            files.write_text(self._path, text)
        return self._path


def claim(folder: Path, text: str) -> Path:
    """Write `text` as a page that was not there before: `compare.html`, else `compare_2.html`, `compare_3.html`, ...

    Two calls at once get two pages, since only one of them can make a file. Raises UserError where it cannot be written.
    """
    number = 1
    while True:
        path = folder / f"{_numbered(NAME, number)}.html"
        try:
            with files.explained(path), open(path, "x", encoding="utf-8"):
                break
        except FileExistsError:
            number += 1
    try:
        files.write_text(path, text)
    except BaseException:
        path.unlink()  # ours, and empty
        raise
    return path


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"
