"""Tags and what a caption has already -> the caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError
from engine.tools.captions import journal, read
from engine.tools.captions.edits import normal
from engine.tools.captions.transaction import Change

_CHUNK, _SECONDS = 64, 20.0  # captions, and their age, at which they are written


class Skipped(Exception):
    """A caption that is left as it is, and why."""


def text(tags: Sequence[str], separator: str) -> str:
    """A caption: tags, none of them twice."""
    return separator.join(_once(tags))


def added(old: str, tags: Sequence[str], trigger: Sequence[str], separator: str) -> str:
    """A caption with tags behind it that it has not yet, and the trigger words in front that it lacks. Its own words stay as they are."""
    sign = separator.strip() or ","
    own = " ".join(old.split("\n")).strip().strip(sign).strip()
    there = {normal(word) for word in own.split(sign)}
    first = [word for word in trigger if normal(word) not in there]
    there |= {normal(word) for word in first}
    new = _once([word for word in tags if normal(word) not in there])
    return separator.join(part for part in (*first, own, *new) if part)


def _once(words: Sequence[str]) -> list[str]:
    """Words, each where it stands first."""
    found: dict[str, str] = {}
    for word in words:
        found.setdefault(normal(word), word)
    return list(found.values())


def change(path: Path, tags: Sequence[str], *, append: bool, trigger: Sequence[str], separator: str) -> Change:
    """The change that gives a caption file these tags; nothing is written yet. Raises Skipped where its encoding is not certain."""
    before = journal.bytes_of(path)
    if before is None:
        return Change(path, None, f"{text([*trigger, *tags], separator)}\n".encode())
    try:
        old = read.read(path)
    except UserError as error:
        raise Skipped(f"{path}: left as it is: {error.message}; save it as UTF-8, or remove it") from error
    if not old.sure:
        raise Skipped(f"{path}: left as it is: it is neither UTF-8 nor marked, perhaps {old.encoding}; save it as UTF-8")
    new = added(old.text, tags, trigger, separator) if append else text([*trigger, *tags], separator)
    return Change(path, before, f"{new}\n".encode())
