"""Marks of emphasis: what each weighs, and what is plain text."""

from __future__ import annotations

import doctest

import pytest

from engine.generation import emphasis as module
from engine.generation.emphasis import emphasis


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted > 5 and result.failed == 0


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("(((a)))", (("a", 1.331),)),
        ("[(a)]", (("a", 1.0),)),
        ("(a:0)", (("a", 0.0),)),
        ("(a:-1.5) b", (("a", -1.5), (" b", 1.0))),
        ("(a (b:2) c:0.5)", (("a ", 0.5), ("b", 1.0), (" c", 0.5))),
        ("(a:b)", (("a:b", 1.1),)),
        ("a:1.5)", (("a:1.5)", 1.0),)),
        ("[a", (("a", 0.9091),)),
        ("a] b)", (("a] b)", 1.0),)),
        ("()", (("", 1.0),)),
        ("a\\", (("a\\", 1.0),)),
        ("\\[a\\]\\\\", (("[a]\\", 1.0),)),
    ],
)
def test_emphasis(text: str, pieces: tuple[tuple[str, float], ...]) -> None:
    assert emphasis(text) == pieces
