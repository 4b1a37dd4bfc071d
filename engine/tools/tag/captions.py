"""Tags and what a caption has already -> the caption."""

from __future__ import annotations

from collections.abc import Sequence

from engine.tools.captions.edits import normal


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
