"""What the installation says, on the screen and in its log."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import doctor


class Log:
    """Says things to the person at the screen, and keeps them in a file without the user's name in it."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        path.parent.mkdir(parents=True, exist_ok=True)

    def say(self, text: str = "") -> None:
        """A line for both."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        self.note(text)

    def note(self, text: str) -> None:
        """A line for the log only."""
        stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        with open(self._path, "a", encoding="utf-8", newline="\n") as handle:
            handle.writelines(f"{stamp}  {doctor.redact(line, self._root)}\n" for line in text.splitlines() or [""])

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
        """Run a program in the product's folder; its lines are said as they come. Returns its exit status and its lines."""
        lines = []
        with subprocess.Popen(
            command, cwd=self._root, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace",
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line.rstrip())
                self.say(f"      {lines[-1]}")
        return child.returncode, lines
