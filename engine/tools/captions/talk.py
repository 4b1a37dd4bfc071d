"""Asking the person at the screen before something is changed.

Without a terminal nobody can be asked: then a command needs its `--yes`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import UserError


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


@dataclass(frozen=True)
class Talk:
    """How a command speaks with a person. `yes`: the questions that it may answer are answered."""

    say: Callable[[str], None]
    yes: bool = False
    read: Callable[[str], str] = input
    terminal: Callable[[], bool] = _is_terminal

    def agrees(self, question: str) -> bool:
        """Whether the person says yes, or said so with `--yes`. Raises UserError where nobody can be asked."""
        return self.yes or self.agrees_here(question, "add --yes if the change is wanted, or --dry_run to only look")

    def agrees_here(self, question: str, hint: str) -> bool:
        """Whether the person says yes, `--yes` or not. Raises UserError, with this hint, where nobody can be asked."""
        return self.answer(f"{question} [y/N] ", hint).casefold() in ("y", "yes")

    def answer(self, question: str, hint: str) -> str:
        """What the person types; empty where the input has ended. Raises UserError, with this hint, where nobody can be asked."""
        if not self.terminal():
            raise UserError("nothing was changed: there is no terminal to ask in", hint)
        try:
            return self.read(question).strip()
        except EOFError:
            return ""
