"""Each folder's trigger: where it stands, whether it is a good one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.data.items import Item, Scan, Subset
from engine.errors import plural
from engine.taggers.words import normal
from engine.tools.captions.edits import is_sentence, split
from engine.tools.captions.rules import Groups

CountTokens = Callable[[list[str]], list[int]]

# Short words without a meaning that people use as identifiers; those of one token are offered.
_RARE = (
    "shs", "sts", "scs", "cpc", "coc", "cic", "msm", "usu", "ici", "lvl", "dii", "muk", "ori", "hru", "rik", "koo", "yos", "wny",
)  # fmt: skip
_OFFERED = 8


@dataclass(frozen=True)
class Audit:
    """A folder's trigger: in how many of its captions it stands, in how many in front, and how many tokens it has.

    `known`: it is an ordinary tag, which a base model knows already.
    """

    subset: Subset
    trigger: str
    captions: int
    standing: int
    in_front: int
    tokens: int
    known: bool


def audit(found: Scan, count_tokens: CountTokens, groups: Groups) -> tuple[str, ...]:
    """What there is to say of the triggers, folder by folder."""
    audits = [
        one for number, subset in enumerate(found.subsets) if not subset.is_reg and (one := _audit(found, number, count_tokens, groups))
    ]
    lines = [line for one in audits for line in told(one)]
    if any(one.known for one in audits):
        lines.append(f"identifiers of one token that no tag has: {', '.join(rare(count_tokens, groups))}")
    return tuple(lines)


def told(one: Audit) -> list[str]:
    """An audit as lines, with the command that mends it."""
    name, data = one.subset.directory.name, f'--train_data_dir "{one.subset.directory}"'
    where = f"stands in {one.standing} of {plural(one.captions, 'caption')}, in front in {one.in_front}"
    lines = [f"{name}: `{one.trigger}` {where}; {plural(one.tokens, 'token')}"]
    if one.standing < one.captions:
        lines.append(f'{name}: to put it in front: python -m engine captions add "{one.trigger}" --front {data}')
    elif one.in_front < one.captions:
        lines.append(f'{name}: to move it to the front: python -m engine captions front "{one.trigger}" {data}')
    if one.known:
        lines.append(
            f"{name}: `{one.trigger}` is an ordinary tag, whose meaning the training changes; a trigger is better a name of its own"
        )
    if "_" in one.trigger:
        lines.append(f"{name}: the `_` in `{one.trigger}` stays, and is written in prompts too")
    return lines


def rare(count_tokens: CountTokens, groups: Groups) -> list[str]:
    """A few identifiers of one token that are no tags."""
    counts = count_tokens(list(_RARE))
    return [word for word, count in zip(_RARE, counts, strict=True) if count == 1 and not groups.knows(word)][:_OFFERED]


def _audit(found: Scan, number: int, count_tokens: CountTokens, groups: Groups) -> Audit | None:
    """The audit of one folder; None where it has no pictures, or nothing that could be its trigger."""
    subset = found.subsets[number]
    items = [item for item in found.items if item.subset == number]
    trigger = _trigger(subset, items, groups)
    if not trigger:
        return None
    standing = sum(_stands(trigger, item) for item in items)
    in_front = sum(_begins(trigger, item) for item in items)
    (tokens,) = count_tokens([trigger])
    return Audit(subset, trigger, len(items), standing, in_front, tokens, groups.knows(trigger))


def _trigger(subset: Subset, items: Sequence[Item], groups: Groups) -> str:
    """What a person would write to call up the concept: the tag that opens most captions, unless it is an ordinary one; else the name.

    Where no picture has a caption file, the folder's text is all there is.
    """
    if not any(item.caption_source == "file" for item in items):
        return subset.class_tokens if items else ""
    name = next(iter(subset.class_tokens.split()), "")
    openings = Counter(tags[0] for item in items if item.caption_source == "file" and (tags := split(_line(item))))
    opening, count = max(openings.items(), key=lambda pair: pair[1], default=("", 0))
    own = bool(opening) and count * 2 >= len(items) and not groups.of(opening) and not is_sentence(opening)
    return opening if own else name or (opening if count * 2 >= len(items) and not is_sentence(opening) else "")


def _stands(trigger: str, item: Item) -> bool:
    """Whether a trigger stands in a caption: as a tag, or anywhere in prose; in what the folder's name says it does."""
    line = _line(item)
    if item.caption_source == "folder" or is_sentence(line):
        return bool(re.search(rf"(?<!\w){re.escape(normal(trigger))}(?!\w)", normal(line)))
    return normal(trigger) in {normal(tag) for tag in split(line)}


def _begins(trigger: str, item: Item) -> bool:
    """Whether a caption begins with a trigger."""
    return bool(re.match(rf"{re.escape(normal(trigger))}(?!\w)", normal(_line(item))))


def _line(item: Item) -> str:
    """The line of a caption that counts."""
    return next((line for line in item.caption.split("\n") if line.strip()), "")
