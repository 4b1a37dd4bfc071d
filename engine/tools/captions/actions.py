"""The actions of `captions`: a row each, with its words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import UserError, find_row, plural
from engine.taggers.words import normal
from engine.tools.captions import edits, rules
from engine.tools.captions.counts import frequencies, frequency_lines, pair_lines, proposal_lines, propose
from engine.tools.captions.methods import METHODS, method
from engine.tools.captions.plan import Edit, Plan, Request, edited, label
from engine.tools.captions.read import Concept
from engine.tools.captions.talk import Talk

Scores = Callable[[Sequence[Path]], Mapping[Path, Mapping[str, float]]]  # a tagger's, of pictures: by tag, 0..1; unknown ones are left out


@dataclass(frozen=True)
class Tools:
    """What an action may use besides the captions: the person at the screen, and the taggers' scores."""

    talk: Talk
    scores: Scores


@dataclass(frozen=True)
class Action:
    """One action. `words` is what is typed behind it, `least` and `most` how many there are; `most` None: any number.

    `plan` says what it would change in a concept; an action that only reports has `report` instead.
    """

    name: str
    words: str
    help: str
    least: int = 0
    most: int | None = 0
    plan: Callable[[Concept, Request, Tools], Plan] | None = None
    report: Callable[[Concept, Request], list[str]] | None = None
    tags: bool = False  # its words are tags, so that a comma parts them as it does in captions; not regular expressions

    def parted(self, request: Request) -> Request:
        """The request with each tag a word of its own. Raises UserError where there are too few words, or too many."""
        words = request.words
        if self.tags and not request.regex:
            if any(os.path.split(word)[0] for word in words) and (folder := _folder(words)):
                told = f"write: captions {self.name} {self.words}{folder}"
                raise UserError(f"`captions {self.name}` takes tags, and one of these is a folder", told, where="words")
            words = tuple(tag for word in words for tag in edits.split(word))
        if len(words) < self.least or (self.most is not None and len(words) > self.most):
            given = " ".join(words) or "nothing"
            written = f"write: captions {self.name} {self.words}".rstrip()
            raise UserError(f"`captions {self.name}` cannot do with {given}", written + _folder(words), where="words")
        return replace(request, words=words, learn=tuple(tag for word in request.learn for tag in edits.split(word)))


def _folder(words: Sequence[str]) -> str:
    """How a folder among these words is written."""
    return next((f' --train_data_dir "{word}"' for word in words if Path(word).is_dir()), "")


def find(name: str) -> Action:
    """The action of that name. Raises UserError, with the nearest name, where there is none."""
    return find_row(ACTIONS, name, "action of `captions` called", "words")


def _of_text(edit: Callable[[Request], Edit], *, prose: bool) -> Callable[[Concept, Request, Tools], Plan]:
    return lambda concept, request, tools: edited(concept, edit(request), prose=prose)


def _add(concept: Concept, request: Request, tools: Tools) -> Plan:
    if request.min_score is None:
        return edited(concept, lambda text: edits.add(text, request.words, front=request.front), prose=True)
    scores: dict[str, dict[str, float]] = {}
    for picture, found in tools.scores(concept.pictures).items():
        scores.setdefault(picture.stem, {}).update({normal(tag): score for tag, score in found.items()})
    changes = []
    for caption in concept.captions:
        mine = scores.get(caption.path.stem, {})
        seen = [word for word in request.words if mine.get(normal(word), 0.0) >= request.min_score]
        changes.append(caption.changed(edits.add(caption.text, seen, front=request.front) if seen else caption.text))
    unknown = sum(caption.path.stem not in scores for caption in concept.captions)
    notes = []
    if unknown:
        notes.append(f"{concept.folder}: {plural(unknown, 'caption')} left, since no tagger has looked at the picture; `tag` does")
    lost = [word for word in request.words if scores and not any(normal(word) in mine for mine in scores.values())]
    if lost:
        told = "no picture has a score for it: it is below 0.01 everywhere, or the tagger has no such tag"
        notes.append(f"{concept.folder}: {', '.join(lost)}: {told}")
    return Plan(tuple(change for change in changes if change.before != change.after), tuple(notes))


def _replace(request: Request) -> Edit:
    old, new = request.words[0], "".join(request.words[1:])
    if not old:
        raise UserError("nothing is named that shall be replaced", "write: captions replace OLD [NEW]", where="words")
    if not request.regex:
        return lambda text: edits.replace(text, old, new)
    pattern = rules.compiled(old, "words")
    rules.check_replacement(pattern, new, "words")
    return lambda text: edits.replace_pattern(text, pattern, new)


def _remove(request: Request) -> Edit:
    if not request.regex:
        return lambda text: edits.remove(text, request.words)
    patterns = [rules.compiled(word, "words", re.IGNORECASE) for word in request.words]
    return lambda text: edits.keep(text, lambda tag: not any(pattern.fullmatch(tag) for pattern in patterns))


def _rare(concept: Concept, request: Request, tools: Tools) -> Plan:
    rare = {normal(one.tag) for one in frequencies(concept) if one.count < request.min_count}
    return edited(concept, lambda text: edits.remove(text, rare), prose=False)


def _merge(request: Request) -> Edit:
    if len(request.words) == 1:
        raise UserError(f"nothing is named that `{request.words[0]}` shall replace", "write: captions merge NAME OTHER ...", where="words")
    if request.words:
        return lambda text: edits.merge(text, request.words[0], request.words[1:])
    synonyms = rules.cleaning().synonyms

    def merged(text: str) -> str:
        for name, others in synonyms.items():
            text = edits.merge(text, name, others)
        return text

    return merged


def _sort(concept: Concept, request: Request, tools: Tools) -> Plan:
    return edited(concept, lambda text: edits.sort(text, concept.keep_tokens), prose=False)


def _clean(request: Request) -> Edit:
    found = rules.cleaning()
    return lambda text: edits.clean(text, found.sentences, found.drops, underscores=found.underscores)


def _propose(concept: Concept, request: Request) -> list[str]:
    fixed = edits.split(request.trigger or request.name or label(concept))
    return proposal_lines(propose(concept, rules.groups(), request.share, fixed), request.share, request.limit)


def _method(concept: Concept, request: Request, tools: Tools) -> Plan:
    number = request.words[0]
    if number not in METHODS:
        raise UserError(
            f"there is no method `{number}`", "methods are 1 to 5; docs/from_pictures_to_data.md says what each is for", where="words"
        )
    return method(number, concept, request, rules.groups(), tools.talk)


ACTIONS: tuple[Action, ...] = (
    Action("add", "TAG ...", "add tags where they are missing, at the end or with --front in front", 1, None, plan=_add, tags=True),
    Action("remove", "TAG ...", "remove tags; with --regex those that an expression fits", 1, None,
           plan=_of_text(_remove, prose=False), tags=True),
    Action("replace", "OLD [NEW]", "replace a text wherever it stands, by nothing where NEW is left out; with --regex an expression", 1, 2,
           plan=_of_text(_replace, prose=True)),
    Action("front", "TAG ...", "move tags to the front where they stand", 1, None,
           plan=_of_text(lambda request: lambda text: edits.to_front(text, request.words), prose=True), tags=True),
    Action("rare", "", "remove tags that stand in fewer captions of a concept than --min_count", plan=_rare),
    Action("merge", "[NAME OTHER ...]", "one name for several; left out: the synonyms of configs/captions/cleaning.toml", 0, None,
           plan=_of_text(_merge, prose=True), tags=True),
    Action("deduplicate", "", "each tag once", plan=_of_text(lambda request: edits.deduplicate, prose=False)),
    Action("sort", "", "tags by the alphabet, behind the first keep_tokens", plan=_sort),
    Action("clean", "", "clean up tags and sentences by configs/captions/cleaning.toml", plan=_of_text(_clean, prose=True)),
    Action("width", "", "full-width punctuation as on a Western keyboard", plan=_of_text(lambda request: edits.half_width, prose=True)),
    Action("count", "", "how often each tag stands in a concept", report=lambda concept, request: frequency_lines(concept, request.limit)),
    Action("pairs", "[TAG ...]", "which tags stand together in a concept", 0, None,
           report=lambda concept, request: pair_lines(concept, request.limit, request.words), tags=True),
    Action("propose", "", "which tags are constant over a concept and belong into its trigger", report=_propose),
    Action("method", "1|2|3|4|5", "caption a concept in one of five ways; docs/from_pictures_to_data.md says which", 1, 1, plan=_method),
    Action("undo", "", "take back the last change; with --all every change"),
)  # fmt: skip
