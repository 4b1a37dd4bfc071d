"""What stands in captions: frequencies, pairs, constant tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from engine.errors import plural
from engine.taggers.words import normal
from engine.tools.captions.edits import has_sentences, tags_of
from engine.tools.captions.read import Concept
from engine.tools.captions.rules import Group, Groups


@dataclass(frozen=True)
class Counted:
    """A tag, in how many captions it stands, and its group."""

    tag: str  # as most captions spell it
    count: int
    group: Group | None = None


@dataclass(frozen=True)
class Proposal:
    """What is constant over a concept: what belongs into its trigger, and what describes the pictures. The others vary."""

    concept: Concept
    captions: int
    trigger: tuple[Counted, ...]
    constant: tuple[Counted, ...]
    varying: tuple[Counted, ...]


def frequencies(concept: Concept) -> list[Counted]:
    """Every tag with the number of captions that it stands in, the most frequent first."""
    spellings: dict[str, Counter[str]] = {}
    for caption in concept.captions:
        for key, tag in {normal(tag): tag for tag in tags_of(caption.text)}.items():
            spellings.setdefault(key, Counter())[tag] += 1
    counted = [Counted(found.most_common(1)[0][0], sum(found.values())) for found in spellings.values()]
    return sorted(counted, key=lambda one: (-one.count, normal(one.tag)))


def pairs(concept: Concept, words: Sequence[str] = ()) -> list[tuple[str, str, int]]:
    """Tags that stand together, with the number of captions, the most frequent first; with `words`, only pairs with one of them."""
    spelled = {normal(one.tag): one.tag for one in frequencies(concept)}
    wanted = {normal(word) for word in words}
    counts: Counter[tuple[str, str]] = Counter()
    for caption in concept.captions:
        here = sorted({normal(tag) for tag in tags_of(caption.text)})
        counts.update(pair for pair in combinations(here, 2) if not wanted or wanted & set(pair))
    return [(spelled[one], spelled[other], count) for (one, other), count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def propose(concept: Concept, groups: Groups, share: float, fixed: Sequence[str] = ()) -> Proposal:
    """What is constant: tags in at least this share (0..1) of the captions. `fixed` are those that are the trigger already.

    A constant tag of a group that belongs to concepts, or of none, is proposed for the trigger. Prose is not counted.
    """
    total = sum(not has_sentences(caption.text) for caption in concept.captions)
    skipped = {normal(tag) for tag in fixed}
    all_tags = [Counted(one.tag, one.count, groups.of(one.tag)) for one in frequencies(concept) if normal(one.tag) not in skipped]
    constant = [one for one in all_tags if one.count >= max(share * total, 2)]
    belongs = [one for one in constant if one.group is None or one.group.in_trigger]
    varying = tuple(one for one in all_tags if one not in constant)
    return Proposal(concept, total, tuple(belongs), tuple(one for one in constant if one not in belongs), varying)


def frequency_lines(concept: Concept, limit: int) -> list[str]:
    """The frequencies of a concept as lines."""
    counted = frequencies(concept)
    return [
        _title(concept, f"{plural(len(counted), 'tag')}"),
        *_table(counted[:limit], len(concept.captions)),
        *_more(len(counted) - limit),
    ]


def pair_lines(concept: Concept, limit: int, words: Sequence[str]) -> list[str]:
    """The pairs of a concept as lines."""
    found = pairs(concept, words)
    lines = [f"  {count:>6}  {one}  +  {other}" for one, other, count in found[:limit]]
    return [_title(concept, plural(len(found), "pair")), *lines, *_more(len(found) - limit)]


def proposal_lines(found: Proposal, share: float, limit: int) -> list[str]:
    """A proposal as lines, with the command that does it."""
    lines = [_title(found.concept, f"constant is what stands in {share:.0%} of {found.captions}")]
    for title, counted in (
        ("constant, and of the concept: they belong into the trigger", found.trigger),
        ("constant, but of the picture: they stay, so that the trigger does not learn them", found.constant),
        ("vary: they stay", found.varying),
    ):
        lines.append(f"  {title} ({len(counted)})")
        lines.extend([*(f"  {line}" for line in _table(counted[:limit], found.captions)), *_more(len(counted) - limit)])
    if found.trigger:
        learn = " ".join(f'"{one.tag}"' for one in found.trigger)
        lines.append(f'  python -m engine captions method 5 --train_data_dir "{found.concept.folder}" --trigger NAME --learn {learn}')
    return lines


def shown(folder: Path, name: str) -> str:
    """A caption file as it is named in messages: with its folder."""
    return f"{folder.name}/{name}"


def _title(concept: Concept, told: str) -> str:
    return f"{concept.folder}: {plural(len(concept.captions), 'caption')}, {told}"


def _table(counted: Sequence[Counted], total: int) -> list[str]:
    return [
        f"  {one.count:>6}  {one.count / max(total, 1):>4.0%}  {one.tag}{f'  ({one.group.name})' if one.group else ''}" for one in counted
    ]


def _more(count: int) -> list[str]:
    return [f"  and {count} more (--limit)"] if count > 0 else []
