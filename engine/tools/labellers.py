"""Taggers and captioners by their names, for `download`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine import captioners
from engine.taggers import models as taggers
from engine.tools.caption import model as caption_model
from engine.tools.tag import model as tag_model

Say = Callable[[str], None]


def known(kind: str) -> list[str]:
    """The names of all taggers, or all captioners."""
    return [row.name for row in (taggers.TAGGERS if kind == "tagger" else captioners.CAPTIONERS)]


def fetched(kind: str, name: str, models: Path, hub: str, say: Say) -> str:
    """Get one into its folder in `models`; how it is used. Raises UserError where there is none of that name, or it cannot be had."""
    if kind == "tagger":
        tagger = taggers.find(name)
        tag_model.fetched(tagger, models / "taggers" / tagger.name, hub, say)
        return f"to tag with it: python -m engine tag FOLDER --repo_id {tagger.name}"
    captioner = captioners.row(name)
    caption_model.fetched(captioner, models / captioners.FOLDER / captioner.name, hub, say)
    return f"to describe with it: python -m engine caption FOLDER --model {captioner.name}"
