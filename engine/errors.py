"""The one exception a user may cause, and how it is shown."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: what happened, where, and what to do about it.

    `message` is one or two sentences and names the value; `where` is a file, `file:line` or an option; `hint` is the remedy.
    Shown without a traceback; every other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str, hint: str = "", *, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\nhint: {self.hint}" if self.hint else text


def nearest(word: str, known: list[str] | tuple[str, ...], count: int = 1) -> list[str]:
    """The valid names closest to `word`, best first; empty where nothing is near.

    >>> nearest("learing_rate", ["learning_rate", "unet_lr"])
    ['learning_rate']
    """
    import difflib

    return difflib.get_close_matches(word, known, n=count, cutoff=0.6)


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """A sentence naming the closest valid names, or an empty string.

    >>> did_you_mean("eulr", ["euler", "ddim"])
    'Did you mean `euler`?'
    """
    close = nearest(word, known)
    return f"Did you mean `{close[0]}`?" if close else ""
