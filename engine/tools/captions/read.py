"""Caption files as text, whatever their encoding.

What is neither UTF-8 nor marked is a guess, and nothing is written on a guess.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data import encodings
from engine.data.folder import caption_files, list_folder, require_folder
from engine.data.items import Subset
from engine.errors import UserError, did_you_mean
from engine.tools.captions.journal import bytes_of
from engine.tools.captions.transaction import Change

_LARGEST = 1 << 20  # bytes; as in engine/data/scan.py


@dataclass(frozen=True)
class Caption:
    """One caption file. `text` has LF line ends; `sure`: its encoding is no guess."""

    path: Path
    raw: bytes
    text: str
    encoding: str
    sure: bool = True

    def changed(self, text: str) -> Change:
        """The change of this file to another text: UTF-8, with the line ends that it had. The same text keeps its bytes."""
        if text == self.text:
            return Change(self.path, self.raw, self.raw)
        windows = "\r\n" in self.raw.decode(self.encoding, "replace")
        return Change(self.path, self.raw, (text.replace("\n", "\r\n") if windows else text).encode("utf-8"))


@dataclass(frozen=True)
class Concept:
    """A folder of pictures with the captions in it. `text` is the folder's own; `without` names pictures that have no caption file."""

    folder: Path
    text: str
    captions: tuple[Caption, ...] = ()
    pictures: tuple[Path, ...] = ()
    without: tuple[str, ...] = ()
    keep_tokens: int = 0  # tags at the front that a run neither shuffles nor drops


def read(path: Path, encoding: str = "") -> Caption:
    """One caption file. `encoding` is that of a file which is neither UTF-8 nor marked, where somebody said it; otherwise it is guessed.

    Raises UserError where the bytes are no text, or not in that encoding.
    """
    raw = bytes_of(path)
    if raw is None:
        raise UserError("there is no such caption", "run the command again", where=str(path))
    try:
        if len(raw) > _LARGEST:
            raise encodings.NotText("it is larger than 1 MiB")
        text, guess = encodings.decode(raw)
        if guess in encodings.MARKED or not encoding:
            return Caption(path, raw, text, guess, sure=guess in encodings.MARKED)
    except encodings.NotText as error:
        if not encoding:
            hint = "name its encoding (--caption_encoding), save it as UTF-8, or remove the file"
            raise UserError(f"this caption is not text: {error}", hint, where=str(path)) from error
    try:
        text = raw.decode(encoding)
    except UnicodeError as error:
        hint = "name the right encoding (--caption_encoding), or save the file as UTF-8"
        why = f"byte {error.start} does not fit" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UserError(f"this caption is not in {encoding}: {why}", hint, where=str(path)) from error
    return Caption(path, raw, text.replace("\r\n", "\n").replace("\r", "\n"), encoding)


def check_encoding(name: str) -> str:
    """The name itself. Raises UserError where Python has no such encoding of text."""
    try:
        "".encode(name)
    except (LookupError, UnicodeError):  # the second for `undefined`, which is there to fail
        from encodings.aliases import aliases  # Python's own names

        hint = did_you_mean(name, sorted(set(aliases.values()))) or "for instance gbk, big5, cp932, cp1252, utf-16-le"
        raise UserError(f"there is no encoding `{name}`", hint, where="caption_encoding") from None
    return codecs.lookup(name).name


def read_concepts(subsets: Sequence[Subset], encoding: str = "") -> tuple[Concept, ...]:
    """The captions of these folders. Pictures of one name share a caption, which comes once."""
    found = []
    for subset in subsets:
        listing = list_folder(require_folder(subset.directory, "image_dir"))
        own = caption_files(listing, subset.options.caption_extension)
        names = dict.fromkeys(own[picture.stem] for picture in listing.pictures if picture.stem in own)
        without = tuple(picture.name for picture in listing.pictures if picture.stem not in own)
        captions = tuple(read(subset.directory / name, encoding) for name in names)
        found.append(
            Concept(subset.directory, subset.class_tokens, captions, listing.pictures, without, subset.options.captions.keep_tokens)
        )
    return tuple(found)
