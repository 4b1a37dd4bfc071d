"""Reading TOML and JSON files of settings, with the line of every key. Parsers give values without lines, so a scanner finds those.

The parser decides what a file means; the scanner only walks over text that the parser accepted (toml.io/en/v1.0.0; json.org).
"""

from __future__ import annotations

import bisect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import UserError

KeyPath = tuple[str | int, ...]  # where a value stands: ("datasets", 0, "subsets", 1, "image_dir")

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}\n#]+")


def read_file(path: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """A .toml or .json file as its values and the line, from 1, of every key, table and list element.

    Raises UserError, with file and line, for a file that is missing, not UTF-8, or not valid.
    """
    text = read_text(path)
    if path.lower().endswith(".json"):
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"this is not valid JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
        if not isinstance(values, dict):
            raise UserError("a file of settings is an object, `{...}`", where=path)
        return values, json_lines(text)
    try:
        values = _loads(text)
    except ValueError as error:
        raise _syntax_error(path, text, str(error)) from error
    return values, toml_lines(text)


def _loads(text: str) -> dict[str, Any]:
    """TOML by Python's own parser, or on 3.10 by the package of that, without which everything else still answers. Raises ValueError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def read_text(path: str) -> str:
    """The text of a UTF-8 file, without a BOM. Raises UserError for a missing file or another encoding."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        what = "this file does not exist" if isinstance(error, FileNotFoundError) else f"this file cannot be read ({error.strerror})"
        raise UserError(what, "check the path; it counts from the current folder", where=path) from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError("this file is in UTF-16", "save it as UTF-8", where=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"this file is not in UTF-8 (byte 0x{data[error.start]:02x})",
            "save it as UTF-8; editors call the old encodings ANSI, GBK, Big5, Shift-JIS",
            where=f"{path}:{line}",
        ) from error


def _syntax_error(path: str, text: str, said: str) -> UserError:
    """What the parser said, with the line it meant and the mistake people usually make there."""
    place = re.search(r"at line (\d+), column \d+", said)
    number = int(place[1]) if place else text.count("\n") + 1
    lines = text.splitlines()
    line = lines[number - 1].strip() if number <= len(lines) else ""
    what = re.sub(r"\s*\(at .*\)$", "", said)
    value = line.partition("=")[2].strip()
    hint = "see toml.io for the rules"
    if re.search(r'"[^"]*\\', line):
        hint = 'inside "..." a backslash begins an escape: write paths as \'C:\\folder\' or "C:/folder"'
    elif re.match(r"(True|False|None)\b", value):
        hint = "write true or false in small letters; leave the key out for none"
    elif value and re.match(r"[A-Za-z_./\\~\u0080-\uffff]", value) and value not in ("true", "false"):
        hint = "texts and paths stand between quotes"
    elif "overwrite" in what or "twice" in what:
        hint = "a key or table stands twice in this file; keep one"
    return UserError(f"this is not valid TOML: {what[:1].lower() + what[1:]}", hint, where=f"{path}:{number}")


def toml_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key, table and list element of a valid TOML text.

    >>> toml_lines('a.b = 1\\n[[c]]\\nd = [\\n  2]\\n')
    {('a',): 1, ('a', 'b'): 1, ('c',): 2, ('c', 0): 2, ('c', 0, 'd'): 3, ('c', 0, 'd', 0): 4}
    """
    scanner = _Scanner(text, _toml_string)
    scanner.document()
    return scanner.lines


def json_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key and list element of a valid JSON text.

    >>> json_lines('{"a":\\n [{"b": 1}]}')
    {('a',): 1, ('a', 0): 2, ('a', 0, 'b'): 2}
    """
    scanner = _Scanner(text, json.loads)
    scanner.skip()
    scanner.value(())
    return scanner.lines


def _toml_string(token: str) -> str:
    return str(_loads(f"key = {token}")["key"])


class _Scanner:
    """Walks once over a valid text. JSON is read by the same rules as a TOML inline table, with `:` for `=`."""

    def __init__(self, text: str, unquote: Callable[[str], str]) -> None:
        self.text = text
        self.unquote = unquote  # of a key between double quotes
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.elements: dict[KeyPath, int] = {}  # how many [[tables]] an array of tables has so far

    def document(self) -> None:
        """A whole TOML text."""
        table: KeyPath = ()
        self.skip()
        while self.at < len(self.text):
            if self.take("[["):
                table = self.element(self.key())
                self.take("]]")
            elif self.take("["):
                table = self.inside(self.key())
                self.take("]")
            else:
                self.pair(table)
            self.skip()

    def inside(self, names: list[str]) -> KeyPath:
        """The path of a `[table]`; a name that is an array of tables means its last element."""
        path: KeyPath = ()
        for name in names:
            path = (*path, name)
            self.mark(path)
            if path in self.elements:
                path = (*path, self.elements[path] - 1)
        return path

    def element(self, names: list[str]) -> KeyPath:
        """The path of a new `[[element]]`."""
        array = (*self.inside(names[:-1]), names[-1])
        self.mark(array)
        self.elements[array] = self.elements.get(array, 0) + 1
        path = (*array, self.elements[array] - 1)
        self.mark(path)
        return path

    def pair(self, table: KeyPath) -> None:
        """`key = value`, with the dots of the key."""
        path = table
        start = self.at
        for name in self.key():
            path = (*path, name)
            self.mark(path, start)
        self.skip()
        self.at += 1  # = or :
        self.skip()
        self.value(path)

    def key(self) -> list[str]:
        """A key and its dots."""
        names = []
        while True:
            self.skip()
            found = _BARE_KEY.match(self.text, self.at) or _STRING.match(self.text, self.at)
            assert found, self.text[self.at : self.at + 40]
            self.at = found.end()
            word = found[0]
            names.append(word[1:-1] if word[0] == "'" else self.unquote(word) if word[0] == '"' else word)
            self.skip()
            if not self.take("."):
                return names

    def value(self, path: KeyPath) -> None:
        """One value; lists and inline tables are walked."""
        if self.take("["):
            index = 0
            while self.more("]"):
                self.mark((*path, index))
                self.value((*path, index))
                index += 1
        elif self.take("{"):
            while self.more("}"):
                self.pair(path)
        else:
            found = _STRING.match(self.text, self.at) or _BARE_VALUE.match(self.text, self.at)
            assert found, self.text[self.at : self.at + 40]
            self.at = found.end()

    def more(self, end: str) -> bool:
        """Move to the next member of a list or inline table; False after its end."""
        self.skip()
        if self.take(","):
            self.skip()
        return not self.take(end)

    def skip(self) -> None:
        """Over spaces, line ends and comments."""
        found = _SPACE.match(self.text, self.at)
        assert found
        self.at = found.end()

    def take(self, token: str) -> bool:
        """Over `token` where it stands here."""
        here = self.text.startswith(token, self.at)
        self.at += len(token) if here else 0
        return here

    def mark(self, path: KeyPath, at: int | None = None) -> None:
        """Note the line of a path, the first time it is met."""
        self.lines.setdefault(path, bisect.bisect_right(self.starts, self.at if at is None else at))
