"""Tags and what a caption has already -> the caption."""

from __future__ import annotations

from collections.abc import Sequence

from engine.taggers.words import normal
from engine.tools.captions.edits import once


def text(tags: Sequence[str], separator: str) -> str:
    """A caption: tags, none of them twice."""
    return separator.join(once(tags))


def added(old: str, tags: Sequence[str], trigger: Sequence[str], separator: str) -> str:
    """A caption, in each line, with tags behind it that it has not yet, and the trigger words in front that it lacks.

    Its own words stay as they are.
    """
    if not old.strip():
        return text([*trigger, *tags], separator)
    lines = old.strip("\n").split("\n")
    return "\n".join(_added(line, tags, trigger, separator) if line.strip() else line for line in lines)


def _added(line: str, tags: Sequence[str], trigger: Sequence[str], separator: str) -> str:
    sign = separator.strip() or ","
    own = line.strip().strip(sign).strip()
    there = {normal(word) for word in own.split(sign)}
    first = [word for word in trigger if normal(word) not in there]
    there |= {normal(word) for word in first}
    new = once([word for word in tags if normal(word) not in there])
    return separator.join(part for part in (*first, own, *new) if part)
