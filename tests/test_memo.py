"""What is remembered of a file is worked out again when the file changes, or when the record is damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

from engine.memo import once


def test_a_text_is_worked_out_once_for_a_file(tmp_path: Path) -> None:
    asked: list[int] = []
    record, first, second = tmp_path / "sub" / "memo.json", tmp_path / "a", tmp_path / "模 b"

    def text() -> str:
        asked.append(len(asked))
        return f"text {len(asked)}"

    for path in (first, second):
        path.write_bytes(b"1")
    assert [once(text, record, path) for path in (first, second, first, second)] == ["text 1", "text 2", "text 1", "text 2"]
    first.write_bytes(b"12")
    assert once(text, record, first) == "text 3"
    stat = second.stat()
    os.utime(second, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert once(text, record, second) == "text 4"
    assert sorted(value[2] for value in json.loads(record.read_text(encoding="utf-8")).values()) == ["text 3", "text 4"]
    record.write_text("{", encoding="utf-8")
    assert once(text, record, first) == "text 5" == once(text, record, first)
