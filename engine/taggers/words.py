"""Tags as words: how they are compared, and written with spaces."""

from __future__ import annotations

import re

_FACES = "0_0 (o)_(o) +_+ +_- ._. <o>_<o> <|>_<|> =_= >_< 3_3 6_9 >_o @_@ ^_^ o_o u_u x_x |_| ||_|| -_- ._- ;_; t_t ^o^ n_n v_v"
FACES = frozenset(_FACES.split())


def normal(tag: str) -> str:
    r"""A tag as it is compared: without capitals, `_` as a space, brackets without their escapes.

    >>> normal("Long_Hair "), normal(r"hutao \(genshin impact\)")
    ('long hair', 'hutao (genshin impact)')
    """
    return " ".join(re.sub(r"\\([()\[\]{}])", r"\1", tag).replace("_", " ").split()).casefold()


def spaced(tag: str) -> str:
    """A tag with spaces for its underscores; faces keep theirs.

    >>> spaced("long_hair"), spaced("(o)_(o)")
    ('long hair', '(o)_(o)')
    """
    return tag if tag.lower() in FACES else tag.replace("_", " ")
