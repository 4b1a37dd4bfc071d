"""What describes pictures: a captioner of this machine, or a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from engine.captioners import Captioner, Task, folder
from engine.captioners.endpoint import PROMPT, Endpoint
from engine.errors import UserError
from engine.tools import download
from engine.tools.caption.options import LENGTH, TOP_P, Options
from engine.tools.labelling import Ask, Say


class Describer(Protocol):
    """What makes captions. `prepare` runs in threads; what it gives is handed to `describe`, with a seed for each picture."""

    def prepare(self, picture: Image.Image) -> Any: ...
    def describe(self, pictures: Sequence[Any], seeds: Sequence[int]) -> list[str]: ...


def obtain(row: Captioner, models: Path, hub: str, say: Say, ask: Ask | None) -> Path:
    """The folder of a captioner, downloaded where `ask` answers yes. Raises UserError that says which files to put where.

    `ask` None: nobody can be asked.
    """
    place = models / row.name
    if folder.missing(row, place):
        if not (ask and ask(f"The captioner {row.name} is not here yet. Download it now (about {row.gigabytes} GB)?")):
            raise folder.lacking(row, place)
        fetched(row, place, hub, say)
    return place


def fetched(row: Captioner, place: Path, hub: str, say: Say, *, pause: float = 3.0) -> None:
    """Download what is missing of a captioner, and look at it. Raises UserError where it cannot be had, or is not the right one."""
    try:
        download.named(row.repo, folder.FILES, place, hub, say, pause=pause)
    except UserError as error:
        by_hand = folder.lacking(row, place) if folder.missing(row, place) else error
        raise UserError(error.message, f"{error.hint}\nor {by_hand.hint}" if error.hint else by_hand.hint, where=error.where) from error
    folder.look(row, place)


def local(row: Captioner, task: Task, place: Path, options: Options, say: Say) -> Describer:
    """A captioner of this machine, loaded. Raises UserError, before anything heavy is loaded, where its files are not the right ones."""
    found = folder.look(row, place)
    from engine import device
    from engine.captioners.local import Local, Wording

    compute, _ = device.choose(options.device, None)
    beams, top_p = options.beams(row.num_beams), options.top_p or TOP_P
    say(f"{row.name} on {compute.name}: " + (f"the best of {beams} paths" if beams > 1 else f"words drawn, top_p {top_p:g}"))
    wording = Wording(task.prompt, beams, top_p, options.max_length or LENGTH, options.min_length)
    return Local(row, found, wording, compute.device, compute.dtype)


def remote(options: Options) -> Endpoint:
    """The server that the user names. Raises UserError where the key is not where it should be."""
    variable = options.endpoint_key
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        message = "this is no environment variable, or an empty one; the key is read from it"
        raise UserError(message, "set it in the terminal first; the key itself is never an option", where="--endpoint_key")
    return Endpoint(
        options.endpoint, options.endpoint_model, options.endpoint_prompt or PROMPT, key, options.endpoint_timeout,
        side=options.endpoint_size, seeded=options.seed is not None, max_length=options.max_length, top_p=options.top_p,
    )  # fmt: skip
