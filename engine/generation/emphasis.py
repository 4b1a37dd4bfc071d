"""Marks of emphasis in a prompt -> pieces of plain text with their weights.

The marks are the web UIs'. Pure; the examples specify it.
"""

from __future__ import annotations

import re

_MARK = re.compile(r"\\[()\[\]\\]|[(\[\])]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[^\\()\[\]:]+|[\\:]")
_ROUND, _SQUARE = 1.1, 1 / 1.1


def emphasis(text: str) -> tuple[tuple[str, float], ...]:
    r"""Text with emphasis marks -> pieces of plain text with their weights.

    `(a)` weighs 1.1 times as much, `[a]` 1.1 times less, `(a:1.3)` 1.3 times; nesting multiplies; a backslash makes the next bracket plain.
    A bracket never closed holds to the end; one that closes nothing is plain text.

    >>> emphasis("a cat")
    (('a cat', 1.0),)
    >>> emphasis("a (red:1.5) cat, [blurry]")
    (('a ', 1.0), ('red', 1.5), (' cat, ', 1.0), ('blurry', 0.9091))
    >>> emphasis("((a)) (b [c:1.2])")
    (('a', 1.21), (' ', 1.0), ('b ', 1.1), ('c:1.2', 1.0))
    >>> emphasis(r"surtr \(arknights\), 10:30 (:-\): .5)")
    (('surtr (arknights), 10:30 ', 1.0), (':-)', 0.5))
    >>> emphasis("smile :) (open")
    (('smile :) ', 1.0), ('open', 1.1))
    >>> emphasis("")
    (('', 1.0),)
    """
    pieces: list[tuple[str, float]] = []
    open_round: list[int] = []
    open_square: list[int] = []

    def weigh(start: int, factor: float) -> None:
        pieces[start:] = [(piece, weight * factor) for piece, weight in pieces[start:]]

    for match in _MARK.finditer(text):
        mark = match.group()
        if mark == "(":
            open_round.append(len(pieces))
        elif mark == "[":
            open_square.append(len(pieces))
        elif match.group(1) is not None and open_round:
            weigh(open_round.pop(), float(match.group(1)))
        elif mark == ")" and open_round:
            weigh(open_round.pop(), _ROUND)
        elif mark == "]" and open_square:
            weigh(open_square.pop(), _SQUARE)
        else:
            pieces.append((mark[1:] if len(mark) == 2 and mark[0] == "\\" else mark, 1.0))
    for start in open_round:
        weigh(start, _ROUND)
    for start in open_square:
        weigh(start, _SQUARE)
    return _joined(pieces)


def _joined(pieces: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Neighbours of equal weight as one piece; weights to four digits, so that 1.1 / 1.1 is 1."""
    joined: list[tuple[str, float]] = []
    for piece, exact in pieces:
        weight = round(exact, 4)
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + piece, weight)
        else:
            joined.append((piece, weight))
    return tuple(joined) or (("", 1.0),)
