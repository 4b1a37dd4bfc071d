"""`captions`: edits captions; each change is shown first and can be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.command import Command, say
from engine.config.field import setting

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `captions` takes besides the settings."""

    words: tuple[str, ...] = setting((), "what to do, and the tags or texts that it takes", behind="WORD")
    concept: str = setting("", "only this folder, by its name or text; left out: all folders")
    name: str = setting("", "methods 2 to 4: what goes in front; left out: the folder's text up to its first space")
    trigger: str = setting("", "method 5: what goes in front; left out: it is asked for")
    learn: tuple[str, ...] = setting((), "method 5: tags, or groups of tags, that the trigger learns; left out: the constants, asked for")
    front: bool = setting(False, "add in front, not at the end")
    regex: bool = setting(False, "remove, replace: the words are regular expressions")
    all: bool = setting(False, "undo: give every file its first bytes back")
    min_count: int = setting(2, "rare: captions that a tag must stand in to stay", low=1)
    share: float = setting(0.8, "propose, method 5: share of captions from which on a tag is constant, 0 to 1", low=0, high=1)
    limit: int = setting(50, "count, pairs, propose: lines of a concept", low=1)
    min_score: float | None = setting(
        None, "add: only where a tagger gave the tag this score or more, 0 to 1; left out: everywhere", low=0, high=1
    )
    caption_encoding: str = setting("", "encoding of captions that are neither UTF-8 nor marked; left out: guessed, shown and asked for")
    dry_run: bool = setting(False, "only show what would be changed")
    yes: bool = setting(False, "do not ask before text is removed or replaced")


def actions() -> list[tuple[str, str]]:
    """What may be done, for the help: how it is written, and what it does."""
    from engine.tools.captions.actions import ACTIONS

    return [(f"{action.name} {action.words}".rstrip(), action.help) for action in ACTIONS]


def _scores(cache: Path, pictures: Sequence[Path]) -> Mapping[Path, Mapping[str, float]]:
    """What taggers gave these pictures."""
    from engine.tools.tag.scores import scores

    return scores(pictures, cache)


def run(options: Options, loaded: Loaded) -> int:
    """Show, ask, write; 1 where nothing was changed, or a file was left."""
    from engine.environment import as_typed
    from engine.tools.captions.plan import Request
    from engine.tools.captions.run import run as change
    from engine.tools.captions.talk import Talk

    action, *words = options.words
    request = Request(
        action, tuple(words), options.concept, options.name, options.trigger, options.learn, options.front, options.regex,
        options.all, options.min_count, options.share, options.limit, options.min_score,
    )  # fmt: skip
    talk = Talk(lambda text: say(as_typed(text)), yes=options.yes)
    data = loaded.config.data
    kept = partial(_scores, Path(data.cache_dir))
    return change(data, request, talk, encoding=options.caption_encoding, dry_run=options.dry_run, scores=kept)


COMMAND = Command(
    name="captions",
    help="edit captions: add, remove, replace tags, clean up, count; each change is shown first and can be undone",
    example="captions count --train_data_dir train_data/demo",
    options=Options,
    run=run,
    actions=actions,
    settings=True,
    bare="words",
    needs=("words",),
)
