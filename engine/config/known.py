"""The options that a command has, and how many words each takes. That follows from the type of its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from engine.config import options
from engine.config.keys import Key, keys_of, run_keys

FILES = ("config", "config_file")  # options that name files of settings
SET = "set"


class Takes(Enum):
    """Which of the words behind it an option takes. The value completes `--name takes ...`."""

    SWITCH = "true, false or nothing"
    ONE = "one value"
    TEXT = "one value; one with spaces stands between quotes"
    NUMBERS = "numbers"
    FILES = "files that end in .toml"
    TEXTS = "texts; one with spaces stands between quotes"
    PATHS = "files; a path with spaces stands between quotes"
    NAMES = "names"
    PAIRS = "name=value"
    UNKNOWN = "words that say nothing of themselves"  # of an option that nobody knows: it is told anyway


@dataclass(frozen=True)
class Known:
    """The options that a command has: its `own` by name, and those of all settings where it takes them.

    `bare` names the option that a path, or another word, means which stands alone; empty where there is none.
    """

    own: Mapping[str, Key]
    settings: bool = False
    bare: str = ""

    def names(self) -> list[str]:
        """Every name of an option."""
        return [*self.own, *((*run_keys(), *options.RUN, *FILES, SET) if self.settings else ())]

    @property
    def takes_words(self) -> bool:
        """Whether words that stand alone are any texts, such as tags, and no paths."""
        return bool(self.bare) and self.takes(self.bare) is Takes.TEXTS

    def begun(self, name: str) -> list[str]:
        """The options whose names begin so. One of another trainer is none of them: it must be written in full."""
        names = dict.fromkeys(self.names())
        return [known for known in names if known.startswith(name) and not (known in options.RUN and options.RUN[known].foreign)]

    def meant(self, name: str) -> str:
        """The option of this name, or the only one that begins so, as argparse takes them; the name itself where there is none or several.

        Several names of one thing are one.
        """
        begun = [] if self.takes(name) else self.begun(name)
        return begun[0] if len({_same(known) for known in begun}) == 1 else name

    def takes(self, name: str) -> Takes | None:
        """What the option of this name takes; None where there is no such option."""
        if name in self.own:
            return _of(self.own[name])
        return _setting_takes(name) if self.settings else None


SETTINGS = Known({}, settings=True)  # a command that has no options of its own


def known(options: type, *, settings: bool = False, bare: str = "") -> Known:
    """What a command has whose own options are the fields of this dataclass."""
    return Known({key.name: key for key in keys_of(options)}, settings, bare)


def _same(name: str) -> str:
    """What an option is called that has several names."""
    option = options.RUN.get(name)
    return FILES[0] if name in FILES else option.same_as if option and option.same_as and not option.value else name


def _of(key: Key) -> Takes:
    """What the option of a key takes."""
    kinds = {"pairs": Takes.PAIRS, "size": Takes.NUMBERS, "rate": Takes.NUMBERS}
    several = Takes.NAMES if key.meta.choices else Takes.PATHS if key.meta.kind == "path" else Takes.TEXTS
    plain = {bool: Takes.SWITCH, str: Takes.TEXT, tuple: several}
    return kinds.get(key.meta.kind) or plain.get(key.type, Takes.ONE)


def _setting_takes(name: str) -> Takes | None:
    if name in (*FILES, SET):
        return Takes.FILES if name in FILES else Takes.PAIRS
    option = options.RUN.get(name)
    key = run_keys().get(option.same_as if option and option.same_as else name)
    if option is not None and (option.value or name in options.SWITCHES):
        return Takes.SWITCH
    if key is None:
        return None if option is None else Takes.PAIRS if name in options.LISTS else Takes.TEXT
    return _of(key)
