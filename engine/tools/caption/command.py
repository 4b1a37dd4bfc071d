"""The work of `caption`: folder and captioner -> captions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine import captioners, seeds
from engine.console import Reporter
from engine.data import decode
from engine.errors import UserError, plural
from engine.tools.caption import model
from engine.tools.caption.model import Describer
from engine.tools.caption.options import ENDINGS, SEED, Options
from engine.tools.labelling import Ask, pictures
from engine.tools.labelling.ahead import ahead
from engine.tools.labelling.captions import CaptionFiles, Style, run_name
from engine.tools.labelling.pictures import Picture


@dataclass(frozen=True)
class _Loaded:
    """What a thread makes of a picture, or why there is nothing."""

    picture: Picture
    ready: Any = None
    digest: str = ""
    problem: str = ""


def caption(options: Options, models_folder: Path, hub: str, reporter: Reporter, ask: Ask | None) -> int:
    """Write the captions; the exit status: 1 where no picture got one. `ask` asks whether to download, None where nobody can be."""
    server = model.remote(options) if options.endpoint else None
    row = captioners.row(options.model)
    task = row.task(options.task)
    found = pictures.find(Path(options.train_data_dir or ""), options.extensions(), recursive=options.recursive)
    for note in found.notes:
        reporter.notice(note)
    if options.append and options.overwrite:
        raise UserError("captions that exist can be added to or written anew, not both", "leave one away", where="append, overwrite")
    style = Style(options.append, options.overwrite, options.caption_separator)
    who = f"{server.url} {server.model}" if server else f"{row.name} {task.name}"
    wording = (options.seed, options.beams(row.num_beams), options.top_p, options.min_length, options.max_length, options.endpoint_prompt)
    files = CaptionFiles(found.pictures, style, run_name(f"caption by {who}", style, options.caption_extension, wording), reporter)
    if not files.todo:
        files.finish()
        reporter.say(f"every picture has its caption ({' or '.join(ENDINGS)}); --append adds to them, --overwrite writes them anew")
        return 0
    describer: Describer
    if server:
        reporter.say(f"each picture is sent to {server.url}")
        describer = server
    else:
        folder = Path(options.model_dir) if options.model_dir else models_folder
        place = model.obtain(row, folder, hub, reporter.say, ask)
        describer = model.local(row, task, place, options, reporter.say)
    return _all(options, files, describer, reporter)


def _all(options: Options, files: CaptionFiles, describer: Describer, reporter: Reporter) -> int:
    """Describe the pictures one batch after another, and write."""
    todo, lacking, written = files.todo, 0, 0
    with files, reporter.counting("pictures described", len(todo), "ready") as counter:
        for done, (one, text) in enumerate(_described(options, todo, describer), 1):
            if text:
                written += files.put(one.picture, lambda old, text=text: joined(old, text, options.caption_separator))  # type: ignore[misc]
                if options.debug:
                    reporter.say(f"{one.picture.path}: {text}")
            else:
                lacking += 1
                reporter.notice(f"{one.picture.path}: skipped: {one.problem or 'nothing was said of it'}")
            counter.at(done, len(todo))
    files.finish()
    reporter.say(f"{plural(written, 'caption')} written" + (f", {plural(lacking, 'picture')} skipped" if lacking else ""))
    return 1 if lacking == len(todo) else 0


def _described(options: Options, todo: Sequence[Picture], describer: Describer) -> Iterator[tuple[_Loaded, str]]:
    """Every picture in its order with its caption, empty where there is none. Threads decode two batches ahead."""
    seed = SEED if options.seed is None else options.seed

    def load(picture: Picture) -> _Loaded:
        try:
            source = decode.read(picture.path)
            ready = describer.prepare(decode.decode(source).image)
        except decode.Unreadable as error:
            return _Loaded(picture, problem=f"{error.message}; {error.hint}")
        return _Loaded(picture, ready, hashlib.sha256(source).hexdigest())

    with decode.threads(options.max_data_loader_n_workers or None) as pool:
        loaded = ahead(pool, load, todo, 2 * options.batch_size)
        while group := list(islice(loaded, options.batch_size)):
            good = [one for one in group if not one.problem]
            drawn = [seeds.derived(seed, "caption", one.digest) for one in good]
            said = iter(describer.describe([one.ready for one in good], drawn) if good else [])
            yield from ((one, "" if one.problem else next(said)) for one in group)


def joined(old: str | None, text: str, separator: str) -> str:
    """A caption with a sentence behind each line, unless it has that already."""
    if not (old or "").strip():
        return text
    return "\n".join(_joined(line, text, separator) if line.strip() else line for line in (old or "").strip("\n").split("\n"))


def _joined(line: str, text: str, separator: str) -> str:
    own = " ".join(line.split())
    sign = separator.strip() or ","
    return own if text in own else separator.join(part for part in (own.rstrip(sign).rstrip(), text) if part)
