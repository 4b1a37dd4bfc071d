"""Where the pictures are: `<repeats>_<text>`, flat and regularisation folders. The names are read as sd-scripts reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.data.items import Subset, SubsetOptions
from engine.errors import UserError, did_you_mean, plural

JOURNAL = ".captions"  # in a folder of pictures: what commands changed in its captions (engine/tools/captions/journal.py)
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_SOMETIMES = (".avif", ".jxl")  # where Pillow, or a plug-in of it, can
_NEVER = (".gif", ".tif", ".tiff", ".heic", ".heif", ".psd", ".tga")  # pictures, but not for training: named, so that nobody wonders


@dataclass(frozen=True)
class Found:
    """Folders that the folder method recognised, and what a person should know about the choice."""

    subsets: tuple[Subset, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """One folder's pictures (sorted by name), all its file names, and its sub-folders."""

    pictures: tuple[Path, ...]
    files: frozenset[str]
    folders: tuple[Path, ...]
    unread: tuple[str, ...]  # pictures in formats that are not read here


def picture_extensions() -> tuple[str, ...]:
    """The picture extensions readable here, lower case. Which of the newer ones are depends on the installed Pillow."""
    from PIL import Image

    Image.init()
    return (*PICTURES, *(extension for extension in _SOMETIMES if extension in Image.registered_extensions()))


def list_folder(folder: Path) -> Listing:
    """What lies directly in `folder`. Names that start with a dot are neither pictures (macOS leaves `._name.png` behind) nor folders."""
    readable = picture_extensions()
    pictures, files, folders, unread = [], [], [], []
    for entry in _entries(folder):
        if entry.is_dir():
            if not entry.name.startswith("."):
                folders.append(entry.name)
            continue
        files.append(entry.name)
        extension = os.path.splitext(entry.name)[1].lower()
        if extension in readable and not entry.name.startswith("."):
            pictures.append(entry.name)
        elif extension in _SOMETIMES or extension in _NEVER:
            unread.append(entry.name)
    # sorted as text: paths sort differently on Windows, and the order of pictures decides the order of training
    return Listing(
        tuple(folder / name for name in sorted(pictures)),
        frozenset(files),
        tuple(folder / name for name in sorted(folders)),
        tuple(sorted(unread)),
    )


def is_half_changed(folder: Path) -> bool:
    """Whether a command that changes captions was killed here in the middle, or is at it now."""
    try:
        return any(name.endswith(".pending") for name in os.listdir(folder / JOURNAL))
    except OSError:
        return False


def endings(caption_extension: str) -> tuple[str, ...]:
    """The endings of caption files in lower case, with their dots."""
    return tuple(ending if ending.startswith(".") else f".{ending}" for ending in caption_extension.lower().split(","))


def caption_files(listing: Listing, caption_extension: str) -> dict[str, str]:
    """Names of caption files by the stem of their pictures; of a picture's several, that whose ending is named first."""
    own: dict[str, str] = {}
    for ending in reversed(endings(caption_extension)):
        own.update({name[: -len(ending)]: name for name in sorted(listing.files) if name.lower().endswith(ending)})
    return own


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The folder's entries. Raises UserError where it cannot be opened, or holds names that are no text."""
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError as error:
        raise UserError(f"this folder cannot be opened ({error.strerror})", "check its rights", where=str(folder)) from error
    broken = [ascii(entry.name) for entry in entries if any("\ud800" <= character <= "\udfff" for character in entry.name)]
    if broken:
        raise UserError(
            f"{len(broken)} file names in this folder are no text, such as {broken[0]}: an archive was unpacked in the wrong encoding",
            "rename these files, or unpack the archive again with its encoding (unzip -O gbk ...)",
            where=str(folder),
        )
    return entries


def parse_name(name: str) -> tuple[int, str] | None:
    """Repeats and text of a concept folder's name, or None where the name does not start with a number and `_`.

    >>> parse_name("10_sks dog"), parse_name("3_my_char girl"), parse_name("dogs"), parse_name("7")
    ((10, 'sks dog'), (3, 'my_char girl'), None, (7, ''))
    """
    first, _, rest = name.partition("_")
    try:
        return int(first), rest
    except ValueError:
        return None


def find(train_data_dir: Path, reg_data_dir: Path | None = None, *, repeats: int = 1, options: SubsetOptions | None = None) -> Found:
    """The folders to train on by the folder method: training folders first, then regularisation folders.

    `repeats` counts for a folder whose name does not tell (`dataset_repeats`). Raises UserError where no picture is found.
    """
    options = options or SubsetOptions()
    if repeats < 1:
        raise UserError(f"dataset_repeats is {repeats}", "it must be 1 or more")
    notes: list[str] = []
    subsets = _concepts(Path(train_data_dir), "train_data_dir", False, repeats, options, notes)
    if reg_data_dir is not None:
        subsets += _concepts(Path(reg_data_dir), "reg_data_dir", True, repeats, options, notes)
    return Found(tuple(subsets), tuple(notes))


def require_folder(folder: Path, key: str) -> Path:
    """`folder` itself. Raises UserError where it does not exist or is a file; `key` names the setting."""
    if os.path.isdir(folder):  # Path.is_dir raises for a name too long to be one
        return folder
    if os.path.exists(folder):
        raise UserError(f"{key} names a file, not a folder", "give the folder that holds the pictures", where=str(folder))
    near = ""
    if os.path.isdir(folder.parent):
        near = did_you_mean(folder.name, [entry.name for entry in folder.parent.iterdir() if entry.is_dir()])
    raise UserError(f"the folder that {key} names does not exist", near or "check the path", where=str(folder))


def _concepts(root: Path, key: str, is_reg: bool, repeats: int, options: SubsetOptions, notes: list[str]) -> list[Subset]:
    """The concept folders under `root`, or `root` itself; adds to `notes`."""
    top = list_folder(require_folder(root, key))
    subsets, nameless = [], []
    for folder in top.folders:
        parsed = parse_name(folder.name)
        if parsed is None:
            nameless.append(folder)
        elif parsed[0] < 1:
            notes.append(f"{folder}: skipped, because its name says {parsed[0]} repeats")
        elif not list_folder(folder).pictures:
            notes.append(f"{folder}: skipped, because it holds no pictures")
        else:
            subsets.append(Subset(folder, parsed[0], parsed[1], is_reg, options))
    if subsets:
        if top.pictures:
            notes.append(f"{root}: {plural(len(top.pictures), 'picture')} beside the concept folders not used; move them into one of them")
        notes.extend(_skipped(folder) for folder in nameless)
        return subsets
    if not top.pictures:
        raise _nothing_found(root, key, top, nameless)
    notes.extend(_skipped(folder) for folder in nameless)
    parsed = parse_name(_real_name(root))
    if parsed is not None and parsed[0] >= 1:
        notes.append(f"{key} is a concept folder itself: {parsed[0]} repeats, text `{parsed[1]}`")
        return [Subset(root, parsed[0], parsed[1], is_reg, options)]
    times = f"{plural(repeats, 'repeat')} (dataset_repeats)"
    notes.append(f"{key} is a flat folder, with no <repeats>_<text> folders inside: {plural(len(top.pictures), 'picture')}, {times}")
    return [Subset(root, repeats, "", is_reg, options)]


def _nothing_found(root: Path, key: str, top: Listing, nameless: Iterable[Path]) -> UserError:
    """The error for a folder without pictures: what was looked at, and what to do."""
    numbered = [(folder, parsed[0]) for folder in top.folders if (parsed := parse_name(folder.name)) is not None]
    for folder, repeats in numbered:
        if repeats < 1 and list_folder(folder).pictures:
            told = f"no pictures found for {key}: the folder `{folder.name}` in it says {repeats} repeats"
            return UserError(told, "begin its name with 1 or more: how often each picture is used in an epoch", where=str(root))
    filled = [(folder, len(list_folder(folder).pictures)) for folder in nameless]
    for folder, count in filled:
        if count:
            return UserError(
                f"no pictures found for {key}; the folder `{folder.name}` in it has {plural(count, 'picture')}, "
                "but its name does not start with a number",
                f"rename it so that it says how often each picture is used in an epoch: `10_{folder.name}`",
                where=str(root),
            )
    unread = [*top.unread, *(f"{folder.name}/{name}" for folder in top.folders for name in list_folder(folder).unread)]
    deeper = [folder.name for folder in top.folders if list_folder(folder).folders]
    looked = "it is empty"
    if unread:
        looked = f"there are pictures of kinds that are not read here, such as {unread[0]}: save them as PNG or JPEG"
    elif deeper:
        looked = f"`{deeper[0]}` holds folders of its own, which are not searched: if they hold the pictures, name it as {key}"
    elif numbered:
        looked = f"`{numbered[0][0].name}` holds no pictures"
    elif top.files or top.folders:
        looked = f"it holds {len(top.files)} other files and {len(top.folders)} folders"
    return UserError(
        f"no pictures found for {key}; {looked}",
        f"put pictures ({' '.join(picture_extensions())}) into a folder named <repeats>_<text>, such as `{root / '10_sks dog'}`",
        where=str(root),
    )


def _skipped(folder: Path) -> str:
    """The note about a folder whose name has no number."""
    pictures = plural(len(list_folder(folder).pictures), "picture")
    return f"{folder}: skipped ({pictures}), because its name does not start with <repeats>_; `10_{folder.name}` would be used"


def _real_name(folder: Path) -> str:
    """The folder's name, also for `.` and paths that end in `..`."""
    return folder.resolve().name
