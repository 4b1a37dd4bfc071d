"""The words of a command line as options with their values. A word that belongs to none is told, with what to write.

How many words an option takes follows from the setting's type, or from how a command's help writes it: `--out FOLDER`, `--lora FILE ...`.
A dash and a letter is never a value, except behind an equals sign: `--prompt=-x`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from engine.config import options, stray
from engine.config.keys import run_keys
from engine.config.problems import ConfigError, Origin, Problem
from engine.errors import did_you_mean

FILES = ("config", "config_file")  # options that name files of settings
SET, HANDED = "set", "handover"
_DASHES = "-\u2013\u2014\u2015\u2212"  # typographic ones too: PowerShell and word processors make them of `-` and `--`
_OPTION = re.compile(rf"--(?![{_DASHES}]|[\w-]+:)([^=]+)(=?)(.*)", re.DOTALL)
_MISWRITTEN = re.compile(rf"([{_DASHES}]+)([^\W\d][\w-]*|\?)([:=]?)(.*)", re.DOTALL)
_NUMBERS = re.compile(r"[-+\d.,eExX()\[\]%]+")
JOINTS = ("\\", "^", "`")  # what joins lines in bash, cmd and PowerShell
_TRUTH = ("true", "false", "1", "0", "")


class Takes(Enum):
    """Which of the words behind it an option takes. The value completes `--name takes ...`."""

    NOTHING = "no value"
    SWITCH = "true, false or nothing"
    ONE = "one value"
    TEXT = "one value; one with spaces stands between quotes"
    NUMBERS = "numbers"
    FILES = "files that end in .toml"
    TEXTS = "texts; one with spaces stands between quotes"
    PATHS = "files; a path with spaces stands between quotes"
    PAIRS = "name=value"
    UNKNOWN = "words that say nothing of themselves"  # of an option that nobody knows: it is told anyway

    def accepts(self, word: str, earlier: int, *, equals: bool, known: Known) -> bool:
        """Whether an option takes this word behind `earlier` others, the first perhaps behind an equals sign."""
        if self in (Takes.NOTHING, Takes.SWITCH):
            return self is Takes.SWITCH and not earlier and word.strip().lower() in _TRUTH
        if not earlier:
            return True
        if self in (Takes.ONE, Takes.TEXT) or word in JOINTS:
            return False
        if self is Takes.NUMBERS:
            return bool(_NUMBERS.fullmatch(word))
        if self in (Takes.UNKNOWN, Takes.TEXTS):
            return not equals and not stray.remedy(word, known.own, known.settings)
        if self is Takes.FILES:
            return not equals and (word.lower().endswith((".toml", ".json")) or Path(f"{word}.toml").is_file())
        return self is Takes.PAIRS or not equals


@dataclass(frozen=True)
class Known:
    """The options that a command has. `own` are its own, name -> what stands behind it in the help; `settings`: it takes settings too."""

    own: Mapping[str, str]
    settings: bool = False

    @classmethod
    def written(cls, own: Sequence[str], *, settings: bool = False) -> Known:
        """A command's own options as its help writes them.

        >>> Known.written(["--lora FILE ...", "--browser"]).own
        {'lora': 'FILE ...', 'browser': ''}
        """
        return cls({name.removeprefix("--"): behind for name, _, behind in (text.partition(" ") for text in own)}, settings)

    def names(self) -> list[str]:
        """Every name of an option."""
        return [*self.own, *((*run_keys(), *options.RUN, *FILES, SET) if self.settings else ())]

    def takes(self, name: str) -> Takes | None:
        """What the option of this name takes; None where there is no such option."""
        if name in self.own:
            behind = self.own[name]
            if behind.endswith("..."):
                return Takes.TEXTS if behind.startswith("TEXT") else Takes.PATHS
            return Takes.NOTHING if not behind else Takes.ONE if behind == "NUMBER" else Takes.TEXT
        return _setting_takes(name) if self.settings else None


def _setting_takes(name: str) -> Takes | None:
    if name in (*FILES, SET, HANDED):
        return Takes.FILES if name in FILES else Takes.PAIRS if name == SET else Takes.ONE
    option = options.RUN.get(name)
    key = run_keys().get(option.same_as if option and option.same_as else name)
    if option is not None and (option.value or name in options.SWITCHES):
        return Takes.SWITCH
    if key is None:
        return None if option is None else Takes.PAIRS if name in options.LISTS else Takes.TEXT
    kinds = {"pairs": Takes.PAIRS, "size": Takes.NUMBERS, "rate": Takes.NUMBERS}
    plain = {bool: Takes.SWITCH, str: Takes.TEXT}
    return kinds.get(key.meta.kind) or plain.get(key.type, Takes.ONE)


@dataclass(frozen=True)
class Line:
    """A command line taken apart: options in their order, bare words of a command that takes them, and what is wrong with its form."""

    options: tuple[tuple[str, tuple[str, ...]], ...]
    words: tuple[str, ...]
    problems: tuple[Problem, ...]


def parse(given: Sequence[str], known: Known, *, bare: bool = False) -> Line:
    """Take words apart. `bare`: the command takes words that belong to no option."""
    reader = _Reader([word for word in given if word != "--"], known, bare)
    while reader.rest:
        reader.read()
    return Line(tuple(reader.options), tuple(reader.words), tuple(reader.problems))


def own_only(given: Sequence[str], own: Sequence[str], *, bare: bool = False) -> tuple[tuple[str, ...], dict[str, str]]:
    """Bare words, and the value of each option, of a command that takes no settings; the last of two counts.

    `own` is as the help writes it; what stands behind a name between brackets may be left out. Raises ConfigError with every problem.
    """
    known = Known.written(own)
    line = parse(given, known, bare=bare)
    problems = list(line.problems)
    for name, values in line.options:
        if name not in known.own:
            guess = did_you_mean(name, list(known.own)).replace("`", "`--", 1)
            problems.append(Problem(Origin(flag=f"--{name}"), "", f"unknown option. {guess or stray.there_are(known.own)}"))
        elif not "".join(values).strip() and known.own[name] and not known.own[name].startswith("["):
            problems.append(Problem(Origin(flag=f"--{name}"), "", f"needs a value: --{name} {known.own[name]}"))
    if problems:
        raise ConfigError(problems, "on the command line")
    return line.words, {name: "".join(values) for name, values in line.options}


@dataclass
class _Reader:
    """Goes through the words once."""

    rest: list[str]
    known: Known
    bare: bool
    options: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    before: stray.Before | None = None  # the option that the next word stands behind

    def read(self) -> None:
        """One option with its values, one that is miswritten, or bare words."""
        word = self.rest.pop(0)
        option, miswritten = _OPTION.fullmatch(word), _MISWRITTEN.fullmatch(word)
        if option:
            name, equals, value = option[1].replace("-", "_"), bool(option[2]), option[3]
            takes = self.known.takes(name) or Takes.UNKNOWN
            values = self._values(takes, [value] if equals else [], equals)
            self.options.append((name, values))
            text = takes in (Takes.TEXT, Takes.TEXTS, Takes.PATHS)
            self.before = None if name == HANDED else stray.Before(name, values, equals, takes.value, text)
        elif miswritten:
            self._miswritten(word, *miswritten.groups())
            self.before = None
        elif self.bare:
            self.words.append(word)
        else:
            self._stray(word)
            self.before = None

    def _values(self, takes: Takes, values: list[str], equals: bool) -> tuple[str, ...]:
        while self.rest and not _is_dashed(self.rest[0]) and takes.accepts(self.rest[0], len(values), equals=equals, known=self.known):
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
        elif self.rest and not tail and not self.bare and not _is_dashed(self.rest[0]) and self._says_nothing(self.rest[0]):
            values = (self.rest.pop(0),)
        said = stray.miswritten(word, dashes, name if exact else "", near, values, self.before, self.known.own, self.known.settings)
        if self.bare and not (exact or near):
            said = f"{said}. A path that begins with a dash is written ./{word}"
        self._problem(word if exact or near else " ".join([word, *values[bool(tail) :]]), said)

    def _stray(self, word: str) -> None:
        """A bare word that no option takes, with those behind it that say as little of themselves."""
        name, equals, value = word.partition("=")
        behind_text = self.before is not None and self.before.text and not self.before.equals
        if name in self.known.names() and (equals or not behind_text):  # an option without its dashes
            self._miswritten(word, "", name, equals, value)
            return
        said = stray.remedy(word, self.known.own, self.known.settings)
        if said or word in JOINTS:
            self._problem(word, stray.belongs_to_none(said) if said else "this sign joins lines in another shell; leave it out")
            return
        group = [word]
        while self.rest and not _is_dashed(self.rest[0]) and self._says_nothing(self.rest[0], behind_text):
            group.append(self.rest.pop(0))
        self._problem(" ".join(group), stray.unclaimed(group, self.before, self.known.own, self.known.settings))

    def _says_nothing(self, word: str, behind_text: bool = False) -> bool:
        """Whether a bare word is neither a file or folder nor an option without its dashes; behind a text its name alone is no option."""
        name, equals, _ = word.partition("=")
        meant = name in self.known.names() and bool(equals or not behind_text)
        return word not in JOINTS and not meant and not stray.remedy(word, self.known.own, self.known.settings)

    def _problem(self, word: str, said: str) -> None:
        shown = " ".join(word.split()) if word.strip() else '""'
        self.problems.append(Problem(Origin(flag=shown.rstrip(":") or shown), "", said))


def _is_dashed(word: str) -> bool:
    """Whether a word is an option or meant as one: a number such as `-1e-3` is none."""
    return bool(_OPTION.fullmatch(word) or _MISWRITTEN.fullmatch(word))
