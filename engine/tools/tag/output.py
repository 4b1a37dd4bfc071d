"""Where tags go: into caption files, or all into one file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from engine import files
from engine.console import Reporter
from engine.errors import UserError
from engine.taggers.choose import Chosen
from engine.tools.captions import journal
from engine.tools.captions.transaction import Change, Run
from engine.tools.tag import captions
from engine.tools.tag.captions import Skipped
from engine.tools.tag.look import Looked
from engine.tools.tag.pictures import Picture

_CHUNK, _SECONDS = 64, 20.0  # captions, and their age, at which they are written


class Output(AbstractContextManager["Output"], Protocol):
    """Takes the tags of the pictures of `todo` one after another. What was taken before an error is written all the same."""

    @property
    def todo(self) -> Sequence[Picture]: ...
    def take(self, looked: Looked, tags: Sequence[Chosen]) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class Style:
    """How caption files are written. `append` and `overwrite` say what happens to those that exist; neither: they stay."""

    append: bool = False
    overwrite: bool = False
    trigger: tuple[str, ...] = ()
    separator: str = ", "


class CaptionFiles:
    """Caption files, written some at a time as one run of the journal. A run that was stopped goes on: what it wrote is not done again."""

    def __init__(self, found: Sequence[Picture], style: Style, command: str, reporter: Reporter) -> None:
        self._style, self._reporter = style, reporter
        self._waiting: list[Change] = []
        self._since = time.monotonic()
        left = [picture for picture in found if style.append or style.overwrite or not picture.has_caption]
        folders = sorted({picture.caption.parent for picture in left})
        for folder in folders:
            files.require_writable(folder)
        self._run = Run(folders, command)
        done = self._done()
        self.todo = tuple(picture for picture in left if not (picture.has_caption and picture.caption in done))
        skipped = len(found) - len(left)
        if skipped:
            reporter.notice(f"{skipped:,} of {len(found):,} pictures have a caption and are skipped (--append_tags, --overwrite)")
        if done:
            reporter.notice(f"a run that was stopped goes on: {len(done):,} captions are written already")

    def __enter__(self) -> CaptionFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._write()

    def take(self, looked: Looked, tags: Sequence[Chosen]) -> None:
        """One more caption, written with the next ones. One that cannot be read with certainty is left, and named."""
        style, words = self._style, [tag.text for tag in tags]
        try:
            change = captions.change(looked.picture.caption, words, append=style.append, trigger=style.trigger, separator=style.separator)
        except Skipped as skipped:
            self._reporter.notice(str(skipped))
            return
        self._waiting.append(change)
        if len(self._waiting) >= _CHUNK or time.monotonic() - self._since > _SECONDS:
            self._write()

    def finish(self) -> None:
        """All pictures are done."""
        self._write()
        self._run.finish()

    def _write(self) -> None:
        """Write what is waiting: all of it or none."""
        waiting, self._waiting = self._waiting, []
        self._since = time.monotonic()
        if waiting:
            self._run.write(waiting)

    def _done(self) -> frozenset[Path]:
        """What the run wrote before it was stopped."""
        if not self._run.continued:
            return frozenset()
        entries = [(folder, entry) for folder in self._run.folders for entry in journal.entries(folder)]
        return frozenset(folder / one.name for folder, entry in entries if entry.run == self._run.id for one in entry.files)


class ListFile:
    """One file for all, as sd-scripts writes it: .json has an object by path, .jsonl a line a picture. Nothing of it is kept in memory."""

    def __init__(self, path: Path, found: Sequence[Picture], trigger: Sequence[str], separator: str) -> None:
        if path.suffix.lower() not in (".json", ".jsonl"):
            raise UserError(f"`{path.name}` ends neither in .json nor in .jsonl", "name a file that does", where="output_path")
        self.todo = tuple(found)
        self._path, self._trigger, self._separator = path, tuple(trigger), separator
        self._lines = path.suffix.lower() == ".jsonl"
        self._writing = files.writing(path)
        self._handle: IO[str] | None = None
        self._first = True

    def __enter__(self) -> ListFile:
        self._handle = open(self._writing.__enter__(), "w", encoding="utf-8", newline="\n")  # closed in __exit__
        self._put("" if self._lines else "{")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handle is not None:
            self._handle.close()
        self._writing.__exit__(kind, error, trace)

    def take(self, looked: Looked, tags: Sequence[Chosen]) -> None:
        """One more picture."""
        caption = captions.text([*self._trigger, *(tag.text for tag in tags)], self._separator)
        path, size = str(looked.picture.path), list(looked.size)
        if self._lines:
            self._put(json.dumps({"image_path": path, "caption": caption, "image_size": size}, ensure_ascii=False) + "\n")
            return
        entry = json.dumps({"tags": caption, "image_size": size}, ensure_ascii=False)
        self._put(f"{'' if self._first else ','}\n {json.dumps(path, ensure_ascii=False)}: {entry}")
        self._first = False

    def finish(self) -> None:
        """All pictures are done."""
        self._put("" if self._lines else "\n}\n")

    def _put(self, text: str) -> None:
        assert self._handle is not None
        with files.explained(self._path):
            self._handle.write(text)
