"""Pictures -> scores, in their order and in little memory.

Threads decode some pictures ahead while the model runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engine.data import decode
from engine.taggers.prepare import prepare
from engine.tools.labelling.ahead import ahead
from engine.tools.labelling.pictures import Picture
from engine.tools.tag.model import Ready
from engine.tools.tag.scores import FLOOR, Scores, always_kept


@dataclass(frozen=True)
class Looked:
    """One picture: its scores, or why there are none."""

    picture: Picture
    size: tuple[int, int] = (0, 0)  # pixels, upright; (0, 0) where it was not decoded, its scores being known
    scores: NDArray[np.float32] | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Loaded:
    """What a thread makes of a picture: what is known of it already, or its pixels made ready."""

    looked: Looked
    digest: str = ""
    pixels: NDArray[np.float32] | None = None


def look(
    pictures: Sequence[Picture], ready: Ready, kept: Scores, *, batch: int, threads: int, lowest: float, sizes: bool = False
) -> Iterator[Looked]:
    """Every picture in its order. Scores that are `kept` are taken from there, where none below `lowest` counts; new ones go there.

    `sizes`: the size in pixels is wanted too, so that each picture is decoded.
    """
    labels = ready.labels
    always = always_kept(labels)
    kept.tagger(ready.key, ready.row.name, labels)

    def load(picture: Picture) -> _Loaded:
        try:
            source = decode.read(picture.path)
            digest = hashlib.sha256(source).hexdigest()
            known = kept.get(ready.key, digest, len(labels)) if lowest >= FLOOR else None
            if known is not None and not sizes:
                return _Loaded(Looked(picture, scores=known))
            decoded = decode.decode(source)
        except decode.Unreadable as error:
            return _Loaded(Looked(picture, problem=f"{error.message}; {error.hint}"))
        looked = Looked(picture, decoded.size, known)
        return _Loaded(looked, digest, prepare(decoded.image, ready.row.input) if known is None else None)

    with decode.threads(threads or None) as pool:
        loaded = ahead(pool, load, pictures, 2 * batch)
        while group := list(islice(loaded, batch)):
            fresh = [one for one in group if one.pixels is not None]
            given = dict(zip((one.digest for one in fresh), _scores(ready, fresh), strict=True)) if fresh else {}
            for one in group:
                if one.pixels is None:
                    yield one.looked
                else:
                    kept.put(ready.key, one.digest, given[one.digest], always)
                    yield Looked(one.looked.picture, one.looked.size, given[one.digest])


def _scores(ready: Ready, fresh: Sequence[_Loaded]) -> list[NDArray[np.float32]]:
    """What the model gives, in groups no larger than it takes."""
    pixels = [one.pixels for one in fresh if one.pixels is not None]
    step = ready.model.batch or len(pixels)
    return [row for start in range(0, len(pixels), step) for row in ready.model.scores(np.stack(pixels[start : start + step]))]
