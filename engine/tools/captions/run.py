"""`captions`: an action, shown first, asked for, then written.

All files are written or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.config.schema_data import DataConfig
from engine.errors import UserError, plural
from engine.tools.captions import actions, journal, undo
from engine.tools.captions.actions import Action, Scores, Tools
from engine.tools.captions.plan import Plan, Request, chosen, diff, takes_away
from engine.tools.captions.read import Concept, check_encoding, read_concepts
from engine.tools.captions.talk import Talk
from engine.tools.captions.transaction import apply, recover
from engine.tools.pictures import training_folders

_SHOWN = 5  # files of an unknown encoding that are shown


def run(data: DataConfig, request: Request, talk: Talk, *, encoding: str = "", dry_run: bool = False, scores: Scores | None = None) -> int:
    """Do an action; the exit status. `encoding` is that of captions that are neither UTF-8 nor marked; `scores` are the taggers'."""
    action = actions.find(request.action)
    request = action.parted(request)
    encoding = check_encoding(encoding) if encoding else ""
    subsets, notes = training_folders(data)
    for note in notes:
        talk.say(note)
    recover([subset.directory for subset in subsets])
    if action.name == "undo":
        wanted = chosen([Concept(subset.directory, subset.class_tokens) for subset in subsets], request.concept)
        return _undo(wanted, request, talk, dry_run=dry_run)
    concepts = chosen(read_concepts(subsets, encoding), request.concept)
    if action.report is not None:
        talk.say("\n\n".join("\n".join(action.report(concept, request)) for concept in concepts))
        return 0
    _check_guesses(concepts, talk, dry_run=dry_run)
    return _change(action, concepts, request, Tools(talk, scores or _no_scores), dry_run=dry_run)


def _change(action: Action, concepts: Sequence[Concept], request: Request, tools: Tools, *, dry_run: bool) -> int:
    """Plan, show, ask, write."""
    assert action.plan is not None
    if action.name == "method" and len(concepts) > 1 and not request.concept:
        names = ", ".join(concept.folder.name for concept in concepts)
        raise UserError("a method is for one concept", f"name it: --concept NAME, one of {names}", where="concept")
    plan = Plan(())
    for concept in concepts:
        plan = plan.joined(action.plan(concept, request, tools))
    talk = tools.talk
    if not plan.changes:
        captions = sum(len(concept.captions) for concept in concepts)
        talk.say("\n".join([*plan.notes, f"nothing to change in {plural(captions, 'caption')}", *plan.done]))
        return 0
    talk.say("\n".join([*diff(plan.changes, whole=dry_run), *plan.notes]))
    if dry_run:
        talk.say(f"{plural(len(plan.changes), 'file')} would be changed; nothing was written")
        return 0
    if takes_away(plan.changes) and not talk.agrees(f"This removes or replaces text. Change {plural(len(plan.changes), 'file')}?"):
        talk.say("nothing was changed")
        return 1
    apply(plan.changes, " ".join(["captions", action.name, *request.words]))
    talk.say("\n".join([f"{plural(len(plan.changes), 'file')} changed; `captions undo` takes it back", *plan.done]))
    _tell_size(concepts, talk)
    return 0


def _undo(concepts: Sequence[Concept], request: Request, talk: Talk, *, dry_run: bool) -> int:
    """Show what undoing would do, ask, do it; 1 where a file was left."""
    folders = [concept.folder for concept in concepts]
    back = undo.everything(folders) if request.everything else undo.last(folders)
    if not (back.runs or back.changes or back.left):
        talk.say("there is nothing to undo")
        return 0
    left = [f"left, since it was changed by something else since then: {path}" for path in back.left]
    what = "everything" if request.everything else f"`{back.command}` of {back.when[:16].replace('T', ' ')} UTC"
    talk.say("\n".join([*diff(back.changes, whole=dry_run), *left]))
    if dry_run:
        talk.say(f"undoing {what} would change {plural(len(back.changes), 'file')}; nothing was written")
        return 0
    if takes_away(back.changes) and not talk.agrees(f"Undo {what} in {plural(len(back.changes), 'file')}?"):
        talk.say("nothing was changed")
        return 1
    back.apply()
    talk.say(f"{what} is undone in {plural(len(back.changes), 'file')}" + (f"; {plural(len(left), 'file')} left" if left else ""))
    _tell_size(concepts, talk)
    return 1 if left else 0


def _check_guesses(concepts: Sequence[Concept], talk: Talk, *, dry_run: bool) -> None:
    """Show the captions whose encoding is a guess. Raises UserError where the guess is not agreed to; `--yes` does not agree to it."""
    guessed = [caption for concept in concepts for caption in concept.captions if not caption.sure]
    if not guessed:
        return
    lines = [f"{plural(len(guessed), 'caption')} neither in UTF-8 nor marked; as they would be read:"]
    lines += [f"  {caption.path} ({caption.encoding}): {caption.text.strip()[:100]}" for caption in guessed[:_SHOWN]]
    talk.say("\n".join([*lines, *([f"  and {len(guessed) - _SHOWN} more"] if len(guessed) > _SHOWN else [])]))
    hint = f"name their encoding (--caption_encoding {guessed[0].encoding}), or save them as UTF-8"
    if not dry_run and not talk.agrees_here("Are these texts right?", hint):
        raise UserError("nothing was changed: the encoding of captions is not known", hint, where=str(guessed[0].path))


def _no_scores(pictures: Sequence[Path]) -> dict[Path, dict[str, float]]:
    return {}


def _tell_size(concepts: Sequence[Concept], talk: Talk) -> None:
    for line in journal.told_size([concept.folder for concept in concepts]):
        talk.say(line)
