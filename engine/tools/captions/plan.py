"""What an action would change, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.data import encodings
from engine.errors import UserError, did_you_mean, plural
from engine.taggers.words import normal
from engine.tools.captions.edits import has_sentences, loses
from engine.tools.captions.read import Concept
from engine.tools.captions.transaction import Change

_SHOWN = 20  # files in a diff before "and n more"
Edit = Callable[[str], str]


@dataclass(frozen=True)
class Request:
    """What a user asked for: the action, the words behind it, and the options."""

    action: str
    words: tuple[str, ...] = ()
    concept: str = ""
    name: str = ""
    trigger: str = ""
    learn: tuple[str, ...] = ()
    front: bool = False
    regex: bool = False
    everything: bool = False
    min_count: int = 2
    share: float = 0.8
    limit: int = 50
    min_score: float | None = None


@dataclass(frozen=True)
class Plan:
    """The changes of an action. `notes` are said with the diff, `done` when it is done."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    done: tuple[str, ...] = ()

    def joined(self, other: Plan) -> Plan:
        """Both."""
        return Plan((*self.changes, *other.changes), (*self.notes, *other.notes), tuple(dict.fromkeys((*self.done, *other.done))))


def edited(concept: Concept, edit: Edit, *, prose: bool) -> Plan:
    """An edit of every caption of a concept. `prose`: it changes sentences too."""
    changes = tuple(caption.changed(edit(caption.text)) for caption in concept.captions)
    notes = []
    left = sum(has_sentences(caption.text) for caption in concept.captions)
    if left and not prose:
        notes.append(f"{concept.folder}: {plural(left, 'caption')} made of sentences, whose words stay; `captions replace` changes those")
    emptied = sum(bool(change.before) and not change.after for change in changes)
    if emptied:
        notes.append(f"{concept.folder}: {plural(emptied, 'caption')} would be empty, and an empty caption is trained as one")
    if concept.without:
        notes.append(f"{concept.folder}: {plural(len(concept.without), 'picture')} without a caption left, such as {concept.without[0]}")
    return Plan(tuple(change for change in changes if change.before != change.after), tuple(notes))


def chosen(concepts: Sequence[Concept], name: str) -> tuple[Concept, ...]:
    """The concepts that a name means: of the folder, of its text, or of the text's beginning; all of them where it is empty."""
    if not name:
        return tuple(concepts)
    for called in (_folder_name, _text, label):
        found = tuple(concept for concept in concepts if normal(called(concept)) == normal(name))
        if found:
            return found
    known = [concept.folder.name for concept in concepts]
    raise UserError(f"there is no concept `{name}`", did_you_mean(name, known) or f"there are {', '.join(known)}", where="concept")


def label(concept: Concept) -> str:
    """The concept's name: the folder's text up to its first space."""
    return next(iter(concept.text.split()), "")


def text_of(data: bytes | None) -> str | None:
    """A file's bytes as they are shown; None for no file."""
    if data is None:
        return None
    try:
        return encodings.decode(data)[0]
    except encodings.NotText:
        return f"({len(data)} bytes that are no text)"


def diff(changes: Sequence[Change], *, whole: bool) -> list[str]:
    """The changes as lines; of many only the first, unless the `whole` is asked for."""
    lines = []
    for change in changes if whole else changes[:_SHOWN]:
        lines.append(f"{change.path.parent.name}/{change.path.name}")
        for sign, text in (("-", text_of(change.before)), ("+", text_of(change.after))):
            lines.extend(f"  {sign} {line}" for line in ([] if text is None else text.rstrip("\n").split("\n")))
    if len(changes) > _SHOWN and not whole:
        lines.append(f"and {plural(len(changes) - _SHOWN, 'file')} more; --dry_run shows all")
    return lines


def takes_away(changes: Sequence[Change]) -> bool:
    """Whether one of these changes removes or replaces text."""
    return any(change.before is not None and loses(text_of(change.before) or "", text_of(change.after) or "") for change in changes)


def _folder_name(concept: Concept) -> str:
    return concept.folder.name


def _text(concept: Concept) -> str:
    return concept.text
