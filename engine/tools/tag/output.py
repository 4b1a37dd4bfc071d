"""Where tags go: into caption files, or all into one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from engine import files
from engine.console import Reporter
from engine.errors import UserError
from engine.taggers.choose import Chosen
from engine.tools.labelling.captions import CaptionFiles, Style
from engine.tools.labelling.pictures import Picture
from engine.tools.tag import captions
from engine.tools.tag.look import Looked


class Output(AbstractContextManager["Output"], Protocol):
    """Takes the tags of the pictures of `todo` one after another, and says whether they are written.

    What was taken before an error is written all the same.
    """

    @property
    def todo(self) -> Sequence[Picture]: ...
    def take(self, looked: Looked, tags: Sequence[Chosen]) -> bool: ...
    def finish(self) -> None: ...


class TagFiles(CaptionFiles):
    """Caption files that get tags."""

    def __init__(self, found: Sequence[Picture], style: Style, trigger: Sequence[str], command: str, reporter: Reporter) -> None:
        super().__init__(found, style, command, reporter)
        self._trigger = tuple(trigger)

    def take(self, looked: Looked, tags: Sequence[Chosen]) -> bool:
        """One more caption; no where it is left as it is."""
        words = [tag.text for tag in tags]

        def text(old: str | None) -> str:
            if old is None:
                return captions.text([*self._trigger, *words], self.style.separator)
            return captions.added(old, words, self._trigger, self.style.separator)

        return self.put(looked.picture, text)


class ListFile:
    """One file for all, as sd-scripts writes it: .json has an object by path, .jsonl a line a picture. Nothing of it is kept in memory."""

    def __init__(self, path: Path, found: Sequence[Picture], style: Style, trigger: Sequence[str]) -> None:
        if path.suffix.lower() not in (".json", ".jsonl"):
            raise UserError(f"`{path.name}` ends neither in .json nor in .jsonl", "name a file that does", where="output_path")
        if style.append:
            raise UserError("nothing is added to one file for all captions", "leave one away", where="append_tags, output_path")
        if files.is_there(path) and not style.overwrite:
            raise UserError("this file exists already", "--overwrite writes it anew; or name another", where=str(path))
        self.todo = tuple(found)
        self._path, self._trigger, self._separator = path, tuple(trigger), style.separator
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

    def take(self, looked: Looked, tags: Sequence[Chosen]) -> bool:
        """One more picture."""
        caption = captions.text([*self._trigger, *(tag.text for tag in tags)], self._separator)
        path, size = str(looked.picture.path), list(looked.size)
        if self._lines:
            self._put(json.dumps({"image_path": path, "caption": caption, "image_size": size}, ensure_ascii=False) + "\n")
            return True
        entry = json.dumps({"tags": caption, "image_size": size}, ensure_ascii=False)
        self._put(f"{'' if self._first else ','}\n {json.dumps(path, ensure_ascii=False)}: {entry}")
        self._first = False
        return True

    def finish(self) -> None:
        """All pictures are done."""
        self._put("" if self._lines else "\n}\n")

    def _put(self, text: str) -> None:
        assert self._handle is not None
        with files.explained(self._path):
            self._handle.write(text)
