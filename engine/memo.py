"""A text that is worked out once for a file and remembered until it changes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from engine import files


def once(compute: Callable[[], str], memo: Path, source: Path) -> str:
    """`compute()` for `source`, remembered in the JSON file `memo` until the source's size or time changes."""
    stat = source.stat()
    key, mark = str(source.resolve()), [stat.st_size, stat.st_mtime_ns]
    known: dict[str, list[object]] = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memo.read_text(encoding="utf-8"))
    if key in known and known[key][:2] == mark:
        return str(known[key][2])
    value = compute()
    files.write_json(memo, {**known, key: [*mark, value]})
    return value
