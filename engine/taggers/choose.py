"""Scores -> the tags of a caption: which, how written, in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.taggers.labels import Labels
from engine.taggers.models import CHARACTER, GENERAL, ONE_OF, QUALITY, RATING
from engine.taggers.words import normal, spaced

OFF, FIRST, LAST = "", "first", "last"


@dataclass(frozen=True)
class Choice:
    """What a user wants of the scores.

    `thresholds` are by category, the lowest score that counts; `tag_thresholds` by tag, compared as `words.normal` has it, win over them.
    `rating` and `quality` say where the best of these goes: OFF, FIRST or LAST. `order` is of the tags: by score, as the model has them, or
    by name. `limit` is the largest number of tags, 0 for any.
    """

    thresholds: Mapping[str, float]
    tag_thresholds: Mapping[str, float] = field(default_factory=dict)
    undesired: frozenset[str] = frozenset()
    replacements: Mapping[str, str] = field(default_factory=dict)
    always_first: tuple[str, ...] = ()
    rating: str = OFF
    quality: str = OFF
    remove_underscore: bool = False
    character_tag_expand: bool = False
    character_tags_first: bool = False
    order: str = "score"
    limit: int = 0


@dataclass(frozen=True)
class Chosen:
    """One tag: as it is written, with its category and score."""

    text: str
    category: str
    score: float


def expanded(tag: str) -> list[str]:
    """A character's tag as name and series: what stands between the last brackets.

    >>> expanded("saber_(summer)_(fate)"), expanded("asuka")
    (['saber_(summer)', 'fate'], ['asuka'])
    """
    match = re.fullmatch(r"(.+?)_?\(([^()]+)\)", tag)
    return [match[1], match[2]] if match else [tag]


def choose(scores: NDArray[np.float32], labels: Labels, choice: Choice) -> list[Chosen]:
    """The tags of one picture, in their order, none of them twice."""
    ranked = _ordered(_over(scores, labels, choice), choice)
    if choice.character_tags_first:
        ranked.sort(key=lambda tag: tag.category != CHARACTER)
    ranked = ranked[: choice.limit or None]
    for category, place in ((QUALITY, choice.quality), (RATING, choice.rating)):
        if place and (best := _best(scores, labels, category, choice)):
            ranked = [best, *ranked] if place == FIRST else [*ranked, best]
    written = _once(text for tag in ranked for text in _written(tag, choice))
    first = {normal(tag): place for place, tag in enumerate(choice.always_first)}
    written.sort(key=lambda tag: first.get(normal(tag.text), len(first)))  # the others keep their order
    return written


def _over(scores: NDArray[np.float32], labels: Labels, choice: Choice) -> list[Chosen]:
    """The tags whose score is high enough, in the model's order."""
    lowest = min((*choice.thresholds.values(), *choice.tag_thresholds.values()), default=2.0)
    found = []
    for number in np.flatnonzero(scores >= lowest):
        name, category, score = labels.names[number], labels.categories[number], float(scores[number])
        wanted = choice.tag_thresholds.get(normal(name), choice.thresholds.get(category, 2.0))
        if name and category not in ONE_OF and score >= wanted and normal(name) not in choice.undesired:
            found.append(Chosen(name, category, score))
    return found


def _best(scores: NDArray[np.float32], labels: Labels, category: str, choice: Choice) -> Chosen | None:
    """The likeliest tag of a category of which only one holds; none where the user does not want that one."""
    numbers = [number for number, it in enumerate(labels.categories) if it == category and labels.names[number]]
    if not numbers:
        return None
    best = max(numbers, key=lambda number: scores[number])
    name = labels.names[best]
    return None if normal(name) in choice.undesired else Chosen(name, category, float(scores[best]))


def _ordered(tags: list[Chosen], choice: Choice) -> list[Chosen]:
    if choice.order == "score":
        return sorted(tags, key=lambda tag: -tag.score)
    return sorted(tags, key=lambda tag: tag.text) if choice.order == "name" else tags


def _written(tag: Chosen, choice: Choice) -> list[Chosen]:
    """A tag as it is written: replaced, taken apart, with spaces."""
    texts = [choice.replacements.get(normal(tag.text), tag.text)]
    if choice.character_tag_expand and tag.category == CHARACTER:
        texts = [part for text in texts for part in expanded(text)]
    parts = [spaced(text) if choice.remove_underscore else text for text in texts]
    return [Chosen(part, tag.category, tag.score) for part in parts if normal(part) and normal(part) not in choice.undesired]


def _once(tags: Iterable[Chosen]) -> list[Chosen]:
    found: dict[str, Chosen] = {}
    for tag in tags:
        found.setdefault(normal(tag.text), tag)
    return list(found.values())


def thresholds(row: Mapping[str, float], thresh: float | None, given: Mapping[str, float], wanted: Iterable[str]) -> dict[str, float]:
    """The threshold of each wanted category: one that is given, else `thresh`, else the model's own.

    >>> thresholds({"general": 0.35, "character": 0.85}, None, {}, ["general", "character", "copyright"])
    {'general': 0.35, 'character': 0.85, 'copyright': 0.35}
    >>> thresholds({"general": 0.35, "character": 0.85}, 0.5, {"character": 0.9}, ["general", "character"])
    {'general': 0.5, 'character': 0.9}
    """
    usual = {category: row.get(category, row[GENERAL]) if thresh is None else thresh for category in wanted}
    return {category: given.get(category, value) for category, value in usual.items()}
