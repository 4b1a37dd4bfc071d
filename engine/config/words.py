"""The words of a command line as options with their values. A word that belongs to none is told, with what to write.

How many words an option takes follows from its key's type (known.py). A dash and a letter is never a value, except behind an equals sign:
`--prompt=-x`. A path that stands alone, or a word where a command takes any, is the value of the option that `Known.bare` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.config import stray
from engine.config.known import Known, Takes
from engine.config.problems import Origin, Problem

_DASHES = "-\u2013\u2014\u2015\u2212"  # typographic ones too: PowerShell and word processors make them of `-` and `--`
_OPTION = re.compile(rf"--(?![{_DASHES}]|[\w-]+:)([^=]+)(=?)(.*)", re.DOTALL)
_MISWRITTEN = re.compile(rf"([{_DASHES}]+)([^\W\d][\w-]*|\?)([:=]?)(.*)", re.DOTALL)
_NUMBERS = re.compile(r"[-+\d.,eExX()\[\]%]+")
JOINTS = ("\\", "^", "`")  # what joins lines in bash, cmd and PowerShell
_TRUTH = ("true", "false", "1", "0", "")
_SEVERAL = (Takes.TEXTS, Takes.PATHS, Takes.NAMES)


@dataclass(frozen=True)
class Line:
    """A command line taken apart: options in their order, and what is wrong with its form.

    `short` holds what was written where that is only the beginning of an option's name.
    """

    options: tuple[tuple[str, tuple[str, ...]], ...]
    problems: tuple[Problem, ...]
    short: Mapping[str, str]

    def written(self, name: str) -> str:
        """An option as it was written, with its full name: `--max_train_epoch (--max_train_epochs)`."""
        return f"--{self.short[name]} (--{name})" if name in self.short else f"--{name}"


def parse(given: Sequence[str], known: Known) -> Line:
    """Take words apart."""
    reader = _Reader([word for word in given if word != "--"], known)
    while reader.rest:
        reader.read()
    reader.claim()
    return Line(tuple(reader.options), tuple(reader.problems), reader.short)


def _accepts(takes: Takes, word: str, earlier: int, *, equals: bool, known: Known) -> bool:
    """Whether an option takes this word behind `earlier` others, the first perhaps behind an equals sign."""
    if takes is Takes.SWITCH:
        return not earlier and word.strip().lower() in _TRUTH
    if not earlier:
        return True
    if takes in (Takes.ONE, Takes.TEXT) or word in JOINTS:
        return False
    if takes is Takes.NUMBERS:
        return bool(_NUMBERS.fullmatch(word))
    if takes in (Takes.UNKNOWN, Takes.TEXTS):
        return not equals and not stray.remedy(word, known)
    if takes is Takes.FILES:
        return not equals and (word.lower().endswith((".toml", ".json")) or Path(f"{word}.toml").is_file())
    return takes is Takes.PAIRS or not equals


@dataclass
class _Reader:
    """Goes through the words once."""

    rest: list[str]
    known: Known
    options: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)  # paths that stand alone
    problems: list[Problem] = field(default_factory=list)
    short: dict[str, str] = field(default_factory=dict)
    before: stray.Before | None = None  # the option that the next word stands behind

    def read(self) -> None:
        """One option with its values, one that is miswritten, or bare words."""
        word = self.rest.pop(0)
        option, miswritten = _OPTION.fullmatch(word), _MISWRITTEN.fullmatch(word)
        if option:
            written, equals, value = option[1].replace("-", "_"), bool(option[2]), option[3]
            name = self.known.meant(written)
            if name != written:
                self.short[name] = written
            takes = self.known.takes(name) or Takes.UNKNOWN
            values = self._values(takes, [value] if equals else [], equals)
            self.options.append((name, values))
            text = takes in (Takes.TEXT, *_SEVERAL)
            self.before = stray.Before(name, values, equals, takes.value, text)
        elif miswritten:
            self._miswritten(word, *miswritten.groups())
            self.before = None
        else:
            self._bare(word)
            self.before = None

    def _values(self, takes: Takes, values: list[str], equals: bool) -> tuple[str, ...]:
        while self.rest and not _is_dashed(self.rest[0]) and _accepts(takes, self.rest[0], len(values), equals=equals, known=self.known):
            values.append(self.rest.pop(0))
        return tuple(values)

    def _miswritten(self, word: str, dashes: str, name: str, sign: str, tail: str) -> None:
        """`-network_dim 16`, `--network_dim:16`, `network_dim 16`: the error names the option as it is written."""
        name = name.replace("-", "_").lower()
        exact = self.known.takes(name) if sign or not tail else None
        near = stray.near(name, self.known.names()) if (sign or not tail) and exact is None else ""
        takes = exact or (self.known.takes(near) if near else None)
        values: tuple[str, ...] = (tail,) if tail else ()
        if takes is not None:
            values = self._values(takes, list(values), bool(tail))
        elif self.rest and not tail and not self.known.bare and not _is_dashed(self.rest[0]) and self._says_nothing(self.rest[0]):
            values = (self.rest.pop(0),)
        said = stray.miswritten(word, dashes, name if exact else "", near, values, self.before, self.known)
        self._problem(word if exact or near else " ".join([word, *values[bool(tail) :]]), said)

    def _bare(self, word: str) -> None:
        """A word that no option takes: a path that stands alone, or one that is told, with those behind it that say as little."""
        name, equals, value = word.partition("=")
        before = self.before if self.before is not None and self.before.text else None
        behind_text = before is not None and not before.equals
        there = bool(self.known.bare) and os.path.exists(word)
        dashless = name in self.known.names() and (equals or not behind_text) and not there
        if dashless and not self.known.takes_words:  # an option without its dashes
            self._miswritten(word, "", name, equals, value)
            return
        said = stray.remedy(word, self.known)
        if said or word in JOINTS:
            self._problem(word, stray.belongs_to_none(said) if said else "this sign joins lines in another shell; leave it out")
            return
        if self.known.bare and word.strip() and (there or not (before and self.known.settings)):  # not `--output_name my pictures`
            self.bare.append(word)
            return
        group = [word]
        while self.rest and not _is_dashed(self.rest[0]) and self._says_nothing(self.rest[0], behind_text):
            group.append(self.rest.pop(0))
        self._problem(" ".join(group), stray.unclaimed(group, self.before, self.known))

    def claim(self) -> None:
        """Give the paths that stand alone to the option that they mean. One that takes one value gets the first."""
        if not self.bare:
            return
        name, given = self.known.bare, tuple(self.bare)
        if self.known.takes(name) not in _SEVERAL:
            typed = [value for option, values in self.options for value in values if option == name]
            first, more = [*typed, *given][0], given if typed else given[1:]
            if more:
                self._problem(" ".join(more), stray.second(name, first, more))
            given = (first,)
        self.options.insert(0, (name, given))

    def _says_nothing(self, word: str, behind_text: bool = False) -> bool:
        """Whether a bare word is neither a file or folder nor an option without its dashes; behind a text its name alone is no option."""
        name, equals, _ = word.partition("=")
        meant = name in self.known.names() and bool(equals or not behind_text)
        return word not in JOINTS and not meant and not stray.remedy(word, self.known)

    def _problem(self, word: str, said: str) -> None:
        shown = " ".join(word.split()) if word.strip() else '""'
        self.problems.append(Problem(Origin(flag=shown.rstrip(":") or shown), "", said))


def _is_dashed(word: str) -> bool:
    """Whether a word is an option or meant as one: a number such as `-1e-3` is none."""
    return bool(_OPTION.fullmatch(word) or _MISWRITTEN.fullmatch(word))
