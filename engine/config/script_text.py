"""A front script as text: where its variables are assigned. Also whether they are read again, and how the file was saved.

PowerShell itself says what the variables hold; this only finds their lines, and what stands there, for messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DOUBLE, _SINGLE = '"“”„', "'‘’‚‛"  # PowerShell takes typographic quotes for plain ones
_TOKEN = re.compile(
    rf"""
    (?P<comment><\#.*?\#> | (?<![^\s;(){{}}=,|&])\#[^\n]*)
    | (?P<expands>@[{_DOUBLE}][^\S\n]*\n.*?\n[{_DOUBLE}]@ | [{_DOUBLE}](?:[^`{_DOUBLE}]|`.|[{_DOUBLE}]{{2}})*[{_DOUBLE}])
    | (?P<text>@[{_SINGLE}][^\S\n]*\n.*?\n[{_SINGLE}]@ | [{_SINGLE}](?:[^{_SINGLE}]|[{_SINGLE}]{{2}})*[{_SINGLE}])
    | `.
    """,
    re.DOTALL | re.VERBOSE,
)
_NAME = r"\$\{?(?:(?:script|global|local|private|variable):)?(\w+)\}?(?!\w)"
_ASSIGNED = re.compile(_NAME + r"[^\S\n]*[-+*/%]?=(?!=)", re.IGNORECASE)
_READ = re.compile(_NAME, re.IGNORECASE)


@dataclass(frozen=True)
class Assignment:
    """The last place where a variable gets its value. `right` is the rest of that line, without a comment."""

    line: int  # from 1; 0 where the text does not show one
    right: str = ""
    takes_next_line: bool = False  # nothing stands behind the sign, so that PowerShell takes the value of the next line's variable


class ScriptText:
    """The text of a .ps1 file.

    >>> script = ScriptText(b'$lr = 1e-4 # rate\\r\\n$unet_lr = "$lr"\\r\\n')
    >>> script.assignment("LR"), script.is_read("lr"), script.is_read("unet_lr")
    (Assignment(line=1, right='1e-4', takes_next_line=False), True, False)
    """

    def __init__(self, data: bytes) -> None:
        self.has_mark = data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"))
        self.is_utf8 = True
        try:
            text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        except UnicodeDecodeError:
            self.is_utf8 = False
            text = data.decode("latin-1")  # only its ASCII part is looked at
        text = text.replace("\r\n", "\n")
        self.is_ascii = text.isascii()
        self._shown = _TOKEN.sub(lambda found: _blank(found[0]) if found["comment"] else found[0], text)
        self._code = _TOKEN.sub(lambda found: _blank(found[0]), text)
        expanding = _TOKEN.sub(lambda found: found[0] if found["expands"] else _blank(found[0]), text)
        self._assigned = list(_ASSIGNED.finditer(self._code))
        starts = {found.start() for found in self._assigned}
        self._read = {found[1].lower() for found in _READ.finditer(expanding) if found.start() not in starts}

    def assignment(self, name: str) -> Assignment:
        """Where `name`, in any capitals, is assigned last."""
        found = next((found for found in reversed(self._assigned) if found[1].lower() == name.lower()), None)
        if found is None:
            return Assignment(0)
        end = self._shown.find("\n", found.end())
        right = self._shown[found.end() : end if end >= 0 else None].strip()
        follows = next((other for other in self._assigned if other.start() >= found.end()), None)
        swallows = not right and follows is not None and not self._shown[found.end() : follows.start()].strip()
        return Assignment(self._shown.count("\n", 0, found.start()) + 1, right, swallows)

    def is_read(self, name: str) -> bool:
        """Whether the script uses the variable for something itself."""
        return name.lower() in self._read


def _blank(text: str) -> str:
    """As many spaces, with the line ends kept."""
    return re.sub(r"[^\n]", " ", text)
