"""What a run says: a live view in a terminal, plain lines elsewhere. The run's log file gets everything."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from engine import environment

_LABEL = re.compile(r"note: |\S.{,11}?  +(?=\S)| +")  # what stands before the text of a line
_QUIET = 30.0  # seconds between two lines of a count


def confirmed(question: str) -> bool:
    """Ask at the terminal; Enter means yes, and the end of the input no."""
    try:
        return input(f"{question} [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


class Outlet:
    """A text stream whose other end may go away: a terminal that is closed, a pipe that nobody reads any more, a full disk.

    What cannot be written is dropped, since no run may end of it; the log has all of it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if it can be."""
        with self._lasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if it can be."""
        with self._lasting():
            self._stream.flush()

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                self._let_go()

    def _let_go(self) -> None:
        """Nobody will read the stream again: what it holds, and what Python writes when it ends, goes nowhere."""
        with contextlib.suppress(OSError, ValueError):  # a stream without a file behind it
            number, nowhere = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


class Reporter:
    """Says things to the person at the screen, and to `log` once it is known where the run writes."""

    def __init__(self, console: Console | None = None, *, plain: bool = False) -> None:
        self.console = console or Console(file=cast(TextIO, Outlet(sys.stdout)), highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal and not plain
        self._log: Path | None = None
        self._early: list[str] | None = []  # what was said before there was a log; None when there will be none

    def log_to(self, path: Path) -> None:
        """Write what is said to this file too, what was said before included."""
        self._log = path
        early, self._early = self._early or [], []
        self._write(early)

    def say(self, text: str, style: str = "") -> None:
        """One message; a plain line in the log."""
        shown = "\n".join(map(self._folded, text.splitlines())) if self.console.is_terminal else text
        self.console.print(shown, style=style or None, markup=False, emoji=False)
        self.record(text)

    def record(self, text: str) -> None:
        """A message for the log alone."""
        stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        self._write([f"{stamp}  {line}\n" for line in text.splitlines()])

    def _folded(self, line: str) -> str:
        """A line for the terminal: folded between words, what follows indented to the text, and no path broken."""
        start = _LABEL.match(line)
        indent = " " * (start.end() if start else 0)
        width = max(self.console.width, 40)
        return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

    def _write(self, lines: list[str]) -> None:
        """Add to the log. A disk that refuses ends the log, not the run."""
        if self._log is None:
            if self._early is not None:
                self._early.extend(lines)
            return
        try:
            with open(self._log, "a", encoding="utf-8", newline="\n") as handle:
                handle.writelines(lines)
        except OSError as error:
            path, self._log, self._early = self._log, None, None
            self.notice(f"the log {path} cannot be written ({error.strerror}); the run continues without it")

    def heading(self, text: str) -> None:
        """The start of a phase."""
        self.say(text, style="bold")

    def notice(self, text: str) -> None:
        """Something the user should know and need not act on."""
        self.say(f"note: {environment.as_typed(text)}", style="yellow")

    @contextmanager
    def counting(self, title: str, total: int, unit: str) -> Iterator[Counter]:
        """A bar while `total` things are made; a line at the end where there is no terminal."""
        counter = Counter(self, title, total, unit)
        with counter.shown():
            yield counter


class Counter:
    """Counts things as they are made. Where there is no terminal, a long count has a line each half minute."""

    def __init__(self, reporter: Reporter, title: str, total: int, unit: str) -> None:
        self.done = 0
        self._began = self._told = time.monotonic()
        self._reporter = reporter
        self._title = title
        self._total = total
        self._unit = unit
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar while the block runs."""
        if self._reporter.live:
            done = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            left = (TextColumn("left"), TimeRemainingColumn())
            with Progress(*done, *left, console=self._reporter.console, transient=True) as progress:
                self._progress = progress
                self._task = progress.add_task(self._title, total=self._total)
                yield
        else:
            yield
        self._reporter.say(f"{self._title}: {self.done} of {self._total} {self._unit}")

    def at(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self.done, self._total = done, total
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)
        elif (now := time.monotonic()) - self._told > _QUIET and 0 < done < total:
            self._told = now
            left = datetime.timedelta(seconds=round((now - self._began) / done * (total - done)))
            self._reporter.say(f"{self._title}: {done} of {total}  left {left}")


class _Lines(Progress):
    """A bar over the whole width, and a line below it."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar's line, then the other."""
        yield from super().get_renderables()
        yield Text(self.below, no_wrap=True, overflow="ellipsis")


class Meter:
    """The view of the steps: a bar above loss, rate, speed and memory in a terminal; a line per log interval elsewhere."""

    def __init__(self, reporter: Reporter, total: int, epochs: int) -> None:
        self._reporter = reporter
        self._total = total
        self._epochs = epochs
        self._lines: _Lines | None = None
        self._task: TaskID | None = None
        self._pace: float | None = None  # seconds a step
        self._figures = ""

    @contextmanager
    def shown(self, done: int) -> Iterator[None]:
        """Show the view while the block runs, `done` steps being over already."""
        if not self._reporter.live:
            yield
            return
        before, after = TextColumn("epoch {task.fields[epoch]}  step"), TextColumn("left {task.fields[left]}")
        with _Lines(before, MofNCompleteColumn(), BarColumn(None), after, console=self._reporter.console, expand=True) as lines:
            self._lines = lines
            self._task = lines.add_task("", total=self._total, completed=done, epoch=f"1/{self._epochs}", left="-")
            yield
            lines.refresh()
        self._lines = None

    def step(self, step: int, epoch: int) -> None:
        """Step `step` is over."""
        if self._lines is not None and self._task is not None:
            self._lines.below = self._figures
            self._lines.update(self._task, completed=step, epoch=f"{epoch}/{self._epochs}", left=self._left(step))

    def figures(self, step: int, epoch: int, pace: float, figures: str) -> None:
        """The newest figures, once a log interval. `pace` is in seconds a step."""
        self._pace, self._figures = pace, figures
        self.step(step, epoch)
        if self._lines is None:
            self._reporter.say(f"step {step}/{self._total}  epoch {epoch}/{self._epochs}  {figures}  left {self._left(step)}")

    def meanwhile(self, text: str) -> None:
        """What is done between two steps, in place of the figures."""
        if self._lines is not None:
            self._lines.below = text

    def _left(self, step: int) -> str:
        """Time to go, or a dash where the pace is not known yet."""
        return "-" if self._pace is None else str(datetime.timedelta(seconds=round(self._pace * (self._total - step))))
