"""A tagger made ready: found or downloaded, compared, opened.

It is opened only when a picture needs it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine import fetch, files, memo
from engine.errors import UserError
from engine.taggers import folder, labels, run
from engine.taggers.labels import Labels
from engine.taggers.models import Tagger
from engine.taggers.run import Model, Open
from engine.tools.labelling import Ask, Say


@dataclass
class Ready:
    """A tagger whose files are there. `key` names it, its files and how pictures are made ready, for the cache."""

    row: Tagger
    place: Path
    key: str
    providers: tuple[str, ...]
    told: Say
    opened: Open = run.open_session
    _model: Model | None = None
    _labels: Labels | None = None

    @property
    def labels(self) -> Labels:
        """What its numbers mean; without opening the model where they are in a file of their own."""
        if self._labels is None:
            self._labels = labels.read(self.place / self.row.labels) if self.row.labels else self.model.labels
        return self._labels

    @property
    def provider(self) -> str:
        """What the model ran on; empty where it was not needed."""
        return self._model.provider if self._model else ""

    @property
    def model(self) -> Model:
        """The model, opened at first. Raises UserError where it cannot be opened or does not fit its labels."""
        if self._model is None:
            names = self.labels if self.row.labels else None
            path = self.place / self.row.model
            self._model = Model(path, self.row, names, self.told, providers=self.providers, opened=self.opened)
        return self._model


def ready(row: Tagger, place: Path, cache: Path, told: Say, *, cpu: bool = False) -> Ready:
    """A tagger from its folder; `told` is called with what differs from the records. Raises UserError where a file is none of a tagger."""
    memory = cache / "hashes" / "taggers.json"
    hashes = [memo.once(lambda path=path: files.sha256(path), memory, path) for path in paths(row, place)]  # type: ignore[misc]
    for line in folder.differences(row, place, hashes):
        told(line)
    how = repr((row.input, row.output, row.sigmoid, *hashes))
    available = run.available()
    return Ready(row, place, hashlib.sha256(how.encode()).hexdigest()[:32], available[-1:] if cpu else available, told)


def paths(row: Tagger, place: Path) -> list[Path]:
    """A tagger's files."""
    return [place / file.name for file in row.files]


def obtain(row: Tagger, models: Path, hub: str, say: Say, ask: Ask | None, *, again: bool = False) -> Path:
    """The folder of a tagger, downloaded where `ask` answers yes. Raises UserError that says which files to put where.

    `ask` None: nobody can be asked. `again`: its files are downloaded although they are there.
    """
    place = folder.find(row, models)
    lacking = folder.missing(row, place)
    for at in (place, models) if lacking else (place,):
        folder.require_kind(row, at)
    if not lacking and not again:
        return place
    if not lacking and row.gated:
        raise UserError(f"{row.name} is put there by hand, and never downloaded", "leave it away", where="force_download")
    refusal = folder.lacking(row, place, hub)
    size = f" ({folder.megabytes(row.size)})" if row.size else ""
    if row.gated or not (again or (ask and ask(f"The tagger {row.name} is not here yet. Download it now{size}?"))):
        raise refusal
    download(row, place, hub, say, again=again)
    return place


def download(row: Tagger, place: Path, hub: str, say: Say, *, again: bool = False, pause: float = 3.0) -> None:
    """Get a tagger's files into a folder; those that are there already stay, but with `again`.

    Raises UserError, with what to put where, when one cannot be had.
    """
    if row.gated:
        raise folder.lacking(row, place, hub)
    for file in row.files if again else folder.missing(row, place):
        address = folder.address(row, file, hub)
        say(f"{address}\n  -> {place / file.name}")
        try:
            digest = fetch.fetch(address, place / file.name, progress=fetch.Shown(say, "  "), pause=pause)
        except UserError as error:
            by_hand = folder.lacking(row, place, hub)
            raise UserError(error.message, f"{error.hint}\nor {by_hand.hint}" if error.hint else by_hand.hint, where=error.where) from error
        say(f"  SHA-256 {digest}")


def fetched(row: Tagger, place: Path, hub: str, say: Say, *, pause: float = 3.0) -> None:
    """Download what is missing of a tagger, compare it with what is recorded, and see that it runs. Raises UserError where it does not."""
    download(row, place, hub, say, pause=pause)
    for line in folder.differences(row, place, [files.sha256(path) for path in paths(row, place)]):
        say(line)
    say(check(row, place, say))


def check(row: Tagger, place: Path, told: Say) -> str:
    """Open a tagger and look at a grey picture with it; what it is, in a sentence. Raises UserError where files do not fit together."""
    import numpy as np
    from PIL import Image

    from engine.taggers.prepare import prepare

    names = labels.read(place / row.labels) if row.labels else None
    model = Model(place / row.model, row, names, told, providers=(run.PROCESSOR,))
    model.scores(np.stack([prepare(Image.new("RGB", (row.input.size,) * 2, (128, 128, 128)), row.input)]))
    counts = {category: model.labels.categories.count(category) for category in dict.fromkeys(model.labels.categories)}
    return f"{row.name}: {len(model.labels):,} tags (" + ", ".join(f"{count:,} {category}" for category, count in counts.items()) + ")"
