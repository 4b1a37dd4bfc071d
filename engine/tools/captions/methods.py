"""Five ways to caption a concept: what its trigger learns.

Method 1 has no captions at all. 2 and 3 keep every tag behind the concept's name. 4 keeps angle and pose alone. 5 deletes the tags that a
trigger of its own shall learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError, plural
from engine.taggers.words import normal
from engine.tools.captions import edits
from engine.tools.captions.counts import proposal_lines, propose
from engine.tools.captions.plan import Plan, Request, edited, label
from engine.tools.captions.read import Caption, Concept
from engine.tools.captions.rules import Group, Groups
from engine.tools.captions.talk import Talk
from engine.tools.captions.transaction import Change

METHODS = ("1", "2", "3", "4", "5")
KEPT_BY_4 = ("angle", "pose")


def method(number: str, concept: Concept, request: Request, groups: Groups, talk: Talk) -> Plan:
    """What a method does to a concept's captions. Raises UserError where it lacks a name, a trigger or the tags to learn."""
    if number == "1":
        return _aside(concept)
    if number == "5":
        return _learned(concept, request, groups, talk)
    names = _names(request.name or label(concept), concept)
    kept = [_group(groups, name) for name in KEPT_BY_4] if number == "4" else None

    def edit(text: str) -> str:
        first = edits.to_front(text, names, add_missing=True, spelled=True)
        return first if kept is None else edits.keep(first, lambda tag: _is_one(tag, names) or groups.of(tag) in kept)

    return edited(concept, edit, prose=number != "4").joined(Plan((), (), _told(names)))


def _aside(concept: Concept) -> Plan:
    """Method 1: every caption under another ending, so that the folder's text is the caption."""
    if not concept.text:
        hint = "name the folder <repeats>_<name>, for instance 10_miku, so that its name is the caption"
        raise UserError("without captions this folder has no trigger", hint, where=str(concept.folder))
    changes: list[Change] = []
    for caption in concept.captions:
        changes.extend([Change(caption.path, caption.raw, None), Change(_free_name(caption), None, caption.raw)])
    told = f"the caption of every picture in {concept.folder.name} is now the folder's text, `{concept.text}`"
    return Plan(tuple(changes), (), (told,))


def _free_name(caption: Caption) -> Path:
    """Where a caption is set aside: under a name that is free."""
    number, path = 1, caption.path.with_name(f"{caption.path.name}.aside")
    while path.exists():
        number, path = number + 1, caption.path.with_name(f"{caption.path.name}.aside{number + 1}")
    return path


def _learned(concept: Concept, request: Request, groups: Groups, talk: Talk) -> Plan:
    """Method 5."""
    trigger = request.trigger or talk.answer(f"Trigger of {concept.folder.name}: ", "name the trigger: --trigger TEXT")
    if not trigger:
        raise UserError("method 5 needs a trigger", 'a name that no tag has: --trigger "King George V (uniform)"', where="trigger")
    names = _names(trigger, concept)
    learn = request.learn or _proposed(concept, names, request, groups, talk)
    wanted = groups.chosen(learn)

    def edit(text: str) -> str:
        left = edits.keep(text, lambda tag: _is_one(tag, names) or not wanted(tag))
        return edits.to_front(left, names, add_missing=True, spelled=True)

    plan = edited(concept, edit, prose=False)
    if concept.without:
        told = f"{concept.folder}: their caption is the folder's name, which is only a label in method 5; `tag` makes captions"
        plan = plan.joined(Plan((), (told,)))
    there = {tag for caption in concept.captions for tag in edits.tags_of(caption.text)}
    lacking = [word for word in learn if not any(map(groups.chosen([word]), there))]
    if lacking:
        told = f"{concept.folder}: no caption has what the trigger shall learn: {', '.join(lacking)}; `captions count` shows what there is"
        plan = plan.joined(Plan((), (told,)))
    return plan.joined(Plan((), (), _told(names)))


def _proposed(concept: Concept, names: Sequence[str], request: Request, groups: Groups, talk: Talk) -> tuple[str, ...]:
    """The constants of the concept, shown and asked for."""
    found = propose(concept, groups, request.share, names)
    if not found.trigger:
        hint = "name what the trigger shall learn: --learn hair eyes, or single tags; `captions count` shows what there is"
        raise UserError("no tag is constant over this concept", hint, where=str(concept.folder))
    talk.say("\n".join(proposal_lines(found, request.share, request.limit)[:-1]))
    hint = "name what the trigger shall learn: --learn hair eyes, or single tags"
    question = f"Shall the trigger learn {plural(len(found.trigger), 'tag')}, which are deleted from the captions?"
    if not (talk.yes or talk.agrees_here(question, f"{hint}; --yes takes these")):
        raise UserError("nothing was changed", hint, where="learn")
    return tuple(one.tag for one in found.trigger)


def _names(text: str, concept: Concept) -> list[str]:
    """The tags that are put in front."""
    names = edits.split(text)
    if not names:
        hint = "name it: --name TEXT; or name the folder <repeats>_<name>"
        raise UserError("this folder's name gives no name to put in front", hint, where=str(concept.folder))
    return names


def _told(names: Sequence[str]) -> tuple[str, ...]:
    """What is said when names were put in front."""
    told = f"set keep_tokens = {len(names)} for training (in train.ps1: $keep_tokens = {len(names)}), so that what is in front stays there"
    written = edits.escaped(edits.join(names))
    return (told, f"in prompts, write {written}") if written != edits.join(names) else (told,)


def _is_one(tag: str, names: Sequence[str]) -> bool:
    return any(normal(tag) == normal(name) for name in names)


def _group(groups: Groups, name: str) -> Group:
    found = groups.named(name)
    if found is None:
        raise UserError(f"there is no group `{name}`, which method 4 keeps", f"write [{name}] into it again", where=str(groups.path))
    return found
