"""Caption bytes -> text, in whatever encoding an editor left them.

UTF-8 is tried first, then those of older Windows editors, recognised by plausibility.
"""

from __future__ import annotations

from collections.abc import Callable

_CONTROLS = frozenset(range(32)) - set(b"\t\n\r\f\x0b\x1a")
_PLAUSIBLE = 0.45  # mean score of the characters beyond ASCII; below it nothing fits
_CERTAIN = 0.85  # a legacy encoding must score this to be preferred to valid UTF-8
_MARKS = (  # UTF-32's first, since one of them begins as UTF-16's does
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
MARKED = ("utf-8", "utf-16", "utf-32")  # the encodings that `decode` does not guess
_SCRIPT_ENDS = (0x300, 0x400, 0x530, 0x590, 0x600, 0x800)  # Latin, Greek, Cyrillic, Armenian, Hebrew, Arabic and its neighbours


class NotText(ValueError):
    """The bytes are no text in any encoding known here; the message says what was seen."""


def decode(raw: bytes) -> tuple[str, str]:
    """The text (line ends as LF, no byte-order mark) and its encoding. Raises NotText.

    >>> decode("grün".encode("cp1252")), decode("白い猫".encode("cp932"))
    (('grün', 'cp1252'), ('白い猫', 'cp932'))
    """
    text, encoding = _decode(raw)
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a\x00"), encoding


def _decode(raw: bytes) -> tuple[str, str]:
    """`decode` without the care for line ends."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _strict(raw, encoding), encoding.removesuffix("-sig")
    nulls = raw.count(0)
    if nulls * 4 >= len(raw) > 0 and len(raw) % 2 == 0:  # no mark, but every other byte of plain letters is zero
        encoding = "utf-16-le" if raw[1::2].count(0) > raw[::2].count(0) else "utf-16-be"
        text = _strict(raw, encoding)
        if "\0" not in text:
            return text, encoding
    if any(byte in _CONTROLS for byte in raw):
        raise NotText("it holds control characters, as pictures and programs do")
    utf8 = ""
    try:
        utf8 = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse_damaged_utf8(raw, error)
    if not raw or (utf8 and not _jumbled(utf8)):
        return utf8, "utf-8"
    scores = {encoding: score for encoding in _SCORES if (score := _score(raw, encoding)) is not None}
    best = max(scores, key=lambda encoding: scores[encoding], default="")
    if best and scores[best] >= (_CERTAIN if utf8 else _PLAUSIBLE):
        return raw.decode(best), best
    if utf8:
        return utf8, "utf-8"
    raise NotText("its bytes make no sense in any known encoding")


def _jumbled(text: str) -> bool:
    """Whether a text that decodes as UTF-8 mixes scripts as nobody does: three Chinese characters in GBK can be valid UTF-8 by chance."""
    codes = [ord(character) for character in text if character > "\x7f"]
    scripts = {next(number for number, end in enumerate(_SCRIPT_ENDS) if code < end) for code in codes if code < 0x800}
    return all(code < 0x800 for code in codes) and len(scripts) > 1


def _strict(raw: bytes, encoding: str) -> str:
    """Decode, or raise NotText."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotText(f"it starts like {encoding}, but byte {error.start} does not fit") from error


def _refuse_damaged_utf8(raw: bytes, error: UnicodeDecodeError) -> None:
    """Raise NotText for UTF-8 with a few bad bytes: any other encoding would turn all of it into nonsense."""
    text = raw.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(character > "\x7f" for character in text) - bad
    if good >= 4 and bad * 4 <= good:
        raise NotText(f"it is UTF-8 with damaged bytes (the first is byte {error.start})") from error


def _score(raw: bytes, encoding: str) -> float | None:
    """How plausible the text is in this encoding: mean over its bytes beyond ASCII, 0..1. None where it does not decode."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return None
    rate = _SCORES[encoding]
    total, weight = 0.0, 0
    for place, character in enumerate(text):
        if character <= "\x7f":
            continue
        code = character.encode(encoding)
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        value = rate(character, code, before, after)
        if len(code) == 2 and code[1] < 0x80 and before.isascii() and before.isalpha():
            value *= 0.3  # a Latin letter, one stray byte and another letter: an apostrophe or accent, not Chinese or Japanese
        total += value * len(code)
        weight += len(code)
    return total / weight if weight else 0.0


def _rate_gbk(character: str, code: bytes, before: str, after: str) -> float:
    """GB 2312's common half scores high; GBK's extension (a trail byte below A1) hardly occurs in captions."""
    if len(code) < 2 or code[1] < 0xA1 or code[0] < 0xA1:
        return 0.05
    if 0xB0 <= code[0] <= 0xD7:
        return 0.95
    return 0.9 if code[0] in (0xA1, 0xA3) else 0.2


def _rate_cp932(character: str, code: bytes, before: str, after: str) -> float:
    """Kana and JIS level 1 score high; half-width kana are what Chinese looks like when it is read as Japanese."""
    if "\u3040" <= character <= "\u30ff":
        return 1.0
    if "\uff61" <= character <= "\uff9f":
        return 0.1
    if code[0] == 0x81:
        return 0.9
    return 0.9 if 0x88 <= code[0] <= 0x97 else 0.2


def _rate_big5(character: str, code: bytes, before: str, after: str) -> float:
    """Big5's common half is A4..C6."""
    if 0xA4 <= code[0] <= 0xC6:
        return 0.94
    return 0.9 if code[0] == 0xA1 else 0.2


def _rate_cp1251(character: str, code: bytes, before: str, after: str) -> float:
    """Cyrillic letters among their own; a capital inside a word is a sign of something else."""
    if not "\u0400" <= character <= "\u04ff":
        return 0.3
    if any(side.isascii() and side.isalpha() for side in (before, after)):
        return 0.0
    return 0.2 if character.isupper() and before.islower() else 0.9


def _rate_cp1252(character: str, code: bytes, before: str, after: str) -> float:
    """Accented letters stand alone among plain ones; typographic quotes and dashes are common."""
    if character.isalpha():
        plain = any(side.isascii() and side.isalpha() for side in (before, after))
        return 0.9 if plain else 0.1
    return 0.8 if character in "‘’“”–—…°«»" else 0.3


_Rate = Callable[[str, bytes, str, str], float]
_SCORES: dict[str, _Rate] = {
    "gbk": _rate_gbk,
    "cp932": _rate_cp932,
    "big5": _rate_big5,
    "cp1251": _rate_cp1251,
    "cp1252": _rate_cp1252,
}
