"""Caption files as `tag` and `caption` write them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from engine import files
from engine.console import Reporter
from engine.errors import UserError, plural
from engine.tools.captions import journal, read
from engine.tools.captions.transaction import Change, Run
from engine.tools.labelling.pictures import Picture

_CHUNK, _SECONDS = 64, 20.0  # captions, and their age, at which they are written
Self = TypeVar("Self", bound="CaptionFiles")


class _Uncertain(Exception):
    """A caption that is left as it is, and why."""


@dataclass(frozen=True)
class Style:
    """How caption files are written. `append` and `overwrite` say what happens to those that exist; neither: they stay."""

    append: bool = False
    overwrite: bool = False
    separator: str = ", "
    ways: str = "--append, --overwrite"  # the options that write captions which exist


def run_name(what: str, *settings: Any) -> str:
    """A run as the journal names it. One with other settings, that change what is written, has another name, and is no continuation."""
    text = json.dumps(settings, default=_plain)
    return f"{what} ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _plain(value: Any) -> Any:
    """A set has another order in each process."""
    return sorted(value) if isinstance(value, frozenset) else dataclasses.asdict(value)


class CaptionFiles:
    """Caption files, written some at a time as one run of the journal. A run that was stopped goes on: what it wrote is not done again."""

    def __init__(self, found: Sequence[Picture], style: Style, command: str, reporter: Reporter) -> None:
        self.style, self._reporter = style, reporter
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
            reporter.notice(f"{skipped:,} of {len(found):,} pictures have a caption and are skipped ({self.style.ways})")
        if done:
            reporter.notice(f"a run that was stopped goes on: {plural(len(done), 'caption')} written already")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._write()

    def put(self, picture: Picture, text: Callable[[str | None], str]) -> bool:
        """One more caption, written with the next ones: the `text` of the one that is added to, or of None.

        No: a caption that cannot be read with certainty is left, and named.
        """
        try:
            self._waiting.append(change(picture.caption, text, append=self.style.append))
        except _Uncertain as uncertain:
            self._reporter.notice(str(uncertain))
            return False
        if len(self._waiting) >= _CHUNK or time.monotonic() - self._since > _SECONDS:
            self._write()
        return True

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


def change(path: Path, text: Callable[[str | None], str], *, append: bool) -> Change:
    """The change that gives a caption file another text; nothing is written yet. Raises _Uncertain where its encoding is not certain."""
    before = journal.bytes_of(path)
    if before is None:
        return Change(path, None, f"{text(None)}\n".encode())
    try:
        old = read.read(path)
    except UserError as error:
        raise _Uncertain(f"{path}: left as it is: {error.message}; save it as UTF-8, or remove it") from error
    if not old.sure:
        raise _Uncertain(f"{path}: left as it is: it is neither UTF-8 nor marked, perhaps {old.encoding}; save it as UTF-8")
    if not append:
        return Change(path, before, f"{text(None)}\n".encode())
    made = text(old.text)
    return old.changed(old.text if made == old.text.rstrip("\n") else f"{made}\n")
