"""What a user may edit: groups of tags, rules for cleaning.

Both lie in `configs/captions/`, with what may be written in them said at their top. A copy named `my_<name>` is read in a file's place: no
update overwrites that one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.toml_lines import read_file
from engine.environment import ROOT
from engine.errors import UserError, did_you_mean
from engine.taggers.words import normal

GROUPS, CLEANING = ROOT / "configs/captions/tag_groups.toml", ROOT / "configs/captions/cleaning.toml"


@dataclass(frozen=True)
class Group:
    """A group of tags. `in_trigger`: what is constant of it belongs to the concept, and not to the picture."""

    name: str
    title: str
    in_trigger: bool
    tags: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]


@dataclass(frozen=True)
class Groups:
    """All groups, in the file's order."""

    path: Path
    groups: tuple[Group, ...]
    _found: dict[str, Group | None] = field(default_factory=dict, compare=False)  # a folder has few tags, and many of each

    def of(self, tag: str) -> Group | None:
        """The group of a tag: the one that lists it, else the first that has a pattern for it."""
        key = normal(tag)
        if key not in self._found:
            listed = next((group for group in self.groups if key in group.tags), None)
            fits = (group for group in self.groups if any(pattern.fullmatch(key) for pattern in group.patterns))
            self._found[key] = listed or next(fits, None)
        return self._found[key]

    def knows(self, tag: str) -> bool:
        """Whether a group lists this very tag, so that it is an ordinary word of base models."""
        return any(normal(tag) in group.tags for group in self.groups)

    def named(self, name: str) -> Group | None:
        """The group of that name."""
        return next((group for group in self.groups if group.name == normal(name)), None)

    def chosen(self, words: Sequence[str]) -> Callable[[str], bool]:
        """Whether a tag is one of these, or in a group of these names."""
        names = {group.name for word in words if (group := self.named(word))}
        tags = {normal(word) for word in words}

        def is_chosen(tag: str) -> bool:
            group = self.of(tag)
            return normal(tag) in tags or (group is not None and group.name in names)

        return is_chosen


@dataclass(frozen=True)
class Cleaning:
    """The rules of `clean` and `merge`."""

    underscores: bool
    drop: tuple[re.Pattern[str], ...]
    sentences: tuple[tuple[re.Pattern[str], str], ...]
    synonyms: Mapping[str, tuple[str, ...]]

    def drops(self, tag: str) -> bool:
        """Whether a tag goes."""
        return any(pattern.fullmatch(normal(tag)) for pattern in self.drop)


def groups(path: Path = GROUPS) -> Groups:
    """The groups of a file. Raises UserError that says what is wrong with it."""
    path = _own(path)
    values, lines = read_file(str(path))
    found = []
    for name, given in values.items():
        where = f"{path}:{lines.get((name,), 1)}"
        if not isinstance(given, dict):
            raise UserError(f"`{name}` is no group", f"write [{name}] with tags = [...] under it", where=where)
        _check_keys(given, ("name", "in_trigger", "tags", "patterns"), where)
        tags = frozenset(normal(tag) for tag in _texts(given, "tags", where))
        patterns = tuple(_wildcard(text) for text in _texts(given, "patterns", where))
        found.append(Group(normal(name), str(given.get("name", name)), _switch(given, "in_trigger", where, usual=False), tags, patterns))
    return Groups(path, tuple(found))


def cleaning(path: Path = CLEANING) -> Cleaning:
    """The rules of a file. Raises UserError that says what is wrong with it."""
    path = _own(path)
    values, lines = read_file(str(path))
    _check_keys(values, ("tags", "sentences", "synonyms"), str(path))
    tags, sentences, synonyms = (values.get(name, {}) for name in ("tags", "sentences", "synonyms"))
    _check_keys(tags, ("underscores_to_spaces", "drop"), f"{path}:{lines.get(('tags',), 1)}")
    _check_keys(sentences, ("replace",), f"{path}:{lines.get(('sentences',), 1)}")
    rules = []
    listed = sentences.get("replace", [])
    if not isinstance(listed, list):
        where = f"{path}:{lines.get(('sentences', 'replace'), 1)}"
        raise UserError("`replace` is no list of rules", 'write replace = [["what to find", "what to write"]]', where=where)
    for place, rule in enumerate(listed):
        where = f"{path}:{lines.get(('sentences', 'replace', place), 1)}"
        if not (isinstance(rule, list) and len(rule) == 2 and all(isinstance(part, str) for part in rule)):
            raise UserError(f"this rule is not two texts: {rule}", 'write ["what to find", "what to write"]', where=where)
        pattern = compiled(rule[0], where, re.IGNORECASE)
        check_replacement(pattern, rule[1], where)
        rules.append((pattern, rule[1]))
    where = f"{path}:{lines.get(('tags', 'drop'), 1)}"
    drop = tuple(_wildcard(text) for text in _texts(tags, "drop", where))
    merged = {name: _texts(synonyms, name, f"{path}:{lines.get(('synonyms', name), 1)}") for name in synonyms}
    underscores = _switch(tags, "underscores_to_spaces", f"{path}:{lines.get(('tags', 'underscores_to_spaces'), 1)}", usual=True)
    return Cleaning(underscores, drop, tuple(rules), merged)


def compiled(text: str, where: str, flags: int = 0) -> re.Pattern[str]:
    """A regular expression. Raises UserError where it is none."""
    try:
        return re.compile(text, flags)
    except re.error as error:
        raise UserError(
            f"`{text}` is no regular expression: {error}", "write a backslash before . ( ) [ ] * + ? to mean themselves", where=where
        ) from error


def check_replacement(pattern: re.Pattern[str], new: str, where: str) -> None:
    """Raise UserError where a replacement names a bracket that the expression has not."""
    try:
        pattern.sub(new, "")
    except (re.error, IndexError) as error:
        hint = r"\1 is what the first bracket found; a backslash itself is \\"
        raise UserError(f"`{new}` cannot be put in the place of `{pattern.pattern}`: {error}", hint, where=where) from error


def _own(path: Path) -> Path:
    """The user's own copy of a file, where there is one."""
    own = path.with_name(f"my_{path.name}")
    return own if own.is_file() else path


def _wildcard(text: str) -> re.Pattern[str]:
    """A tag in which `*` stands for any text."""
    return re.compile(".*".join(re.escape(part) for part in re.sub(r"[_\s]+", " ", text).casefold().split("*")))


def _check_keys(given: Any, known: tuple[str, ...], where: str) -> None:
    """Raise UserError for what is no table, and for a key that nobody knows."""
    if not isinstance(given, dict):
        raise UserError("this is no table", "compare it with the file that came with this version", where=where)
    for key in given:
        if key not in known:
            raise UserError(f"there is no key `{key}`", did_you_mean(key, known) or f"there are {', '.join(known)}", where=where)


def _switch(given: Mapping[str, Any], key: str, where: str, *, usual: bool) -> bool:
    """True or false; what is `usual` where there is none."""
    value = given.get(key, usual)
    if not isinstance(value, bool):
        raise UserError(f"`{key}` is neither true nor false: {value!r}", f"write {key} = true, without quotes", where=where)
    return value


def _texts(given: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A list of texts; empty where there is none."""
    texts = given.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"`{key}` is no list of texts", f'write {key} = ["one", "another"]', where=where)
    return tuple(texts)
