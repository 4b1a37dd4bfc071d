"""A seed for each purpose of each sample, derived and never stored. It is the same on every machine and in every order."""

from __future__ import annotations

import hashlib


def derived(*parts: object) -> int:
    """A seed that depends on these values alone: the first 63 bits of the SHA-256 of their texts, joined by `/`.

    >>> derived(42, "noise", 7)
    2275312349736674996
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1
