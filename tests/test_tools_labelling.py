"""How a caption that is there gets more: its line ends stay, and what adds nothing keeps its bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.tools.labelling.captions import change


@pytest.mark.parametrize(
    ("before", "added", "after"),
    [
        (b"a, b\r\n", ", c", b"a, b, c\r\n"),
        (b"a, b", ", c", b"a, b, c\n"),
        (b"a, b\n", ", c", b"a, b, c\n"),
        (b"a\r\nb\r\n", ", c", b"a\r\nb, c\r\n"),
        (b"a, b\r\n", "", b"a, b\r\n"),
        (b"a, b", "", b"a, b"),
    ],
)
def test_an_added_caption_keeps_its_line_ends(tmp_path: Path, before: bytes, added: str, after: bytes) -> None:
    file = tmp_path / "1.txt"
    file.write_bytes(before)
    made = change(file, lambda text: (text or "").rstrip("\n") + added, append=True)
    assert (made.before, made.after) == (before, after)


def test_a_caption_written_anew_has_a_line_end(tmp_path: Path) -> None:
    file = tmp_path / "1.txt"
    file.write_bytes(b"old\r\n")
    assert change(file, lambda text: f"new {text}", append=False).after == b"new None\n"
    assert change(tmp_path / "2.txt", lambda text: "new", append=True).after == b"new\n"
