"""Which pictures of a folder get captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.folder import caption_files, endings, list_folder, parse_name, picture_extensions, require_folder
from engine.errors import UserError, plural


@dataclass(frozen=True)
class Picture:
    """A picture and the file of its caption, which may be there already."""

    path: Path
    caption: Path
    has_caption: bool


@dataclass(frozen=True)
class Found:
    """The pictures in their order, and what a person should know about the choice."""

    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


def find(folder: Path, extension: str, *, recursive: bool) -> Found:
    """The pictures of a folder, one for each caption. Raises UserError where there is none, with where there are some."""
    require_folder(folder, "train_data_dir")
    by_caption: dict[Path, Picture] = {}
    shared: list[Path] = []
    for place in _folders(folder, recursive):
        listing = list_folder(place)
        own = caption_files(listing, extension)
        for path in listing.pictures:
            caption = place / own.get(path.stem, path.stem + endings(extension)[0])
            if caption in by_caption:
                shared.append(path)
            else:
                by_caption[caption] = Picture(path, caption, path.stem in own)
    if not by_caption:
        raise _nothing(folder, recursive)
    notes = []
    if shared:
        why = "another picture has the same name, and thereby the same caption"
        notes.append(f"{plural(len(shared), 'picture')} not looked at, such as {shared[0]}: {why}")
    return Found(tuple(by_caption.values()), tuple(notes))


def _folders(folder: Path, recursive: bool) -> Iterator[Path]:
    """The folders whose pictures count, each before those in it. A link to a folder is followed once."""
    yield folder
    seen = {folder.resolve()}
    waiting = list(list_folder(folder).folders)
    while waiting:
        place = waiting.pop(0)
        if place.name.startswith(".") or not (recursive or parse_name(place.name)) or place.resolve() in seen:
            continue
        seen.add(place.resolve())
        yield place
        if recursive:
            waiting[:0] = list_folder(place).folders


def _nothing(folder: Path, recursive: bool) -> UserError:
    """The error for a folder without pictures."""
    top = list_folder(folder)
    if not recursive:
        for place in top.folders:
            if count := len(list_folder(place).pictures):
                told = f"no pictures found; the folder `{place.name}` in it has {plural(count, 'picture')}"
                return UserError(told, "add --recursive, or name that folder", where=str(folder))
    if top.unread:
        told = f"no pictures found; there are some of kinds that are not read here, such as {top.unread[0]}"
        return UserError(told, "save them as PNG or JPEG", where=str(folder))
    hint = f"put pictures ({' '.join(picture_extensions())}) there" + ("" if recursive else ", or add --recursive for those in its folders")
    return UserError("no pictures found", hint, where=str(folder))
