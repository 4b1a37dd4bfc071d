"""Sample pictures of a run: prompts -> PNG files and their page.

`Painter` makes pictures, `Previewer` a run's files of them. These have sd-scripts' names without its time of day, so that a picture made
again takes the old one's place:
`<name>_<000500 | base>_<prompt, two digits>_<seed>.png`; "base" is the model without the adapter.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from engine.adapters.base import Method
from engine.diffusion import samplers
from engine.errors import UserError
from engine.generation import page, png
from engine.generation.generate import Progress, Sampled, evaluating, generate
from engine.generation.page import Row
from engine.generation.prompt import Prompt, Shot, settle
from engine.models.family import Cond

Condition = Callable[[Shot], Cond]  # leading dimension 2: negative prompt, prompt
Decode = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # latents [C, h, w] each -> pixels uint8 [H, W, 3] each
PictureProgress = Callable[[int, int, int, int], None]  # picture, pictures, step, steps; may raise to stop


def plan(prompts: Sequence[Prompt], *, size: tuple[int, int], sampler: str, karras: bool, seed: int) -> tuple[Shot, ...]:
    """The pictures that prompts ask for, every setting decided: `size` (width, height), `sampler` and `karras` where a prompt says nothing.

    Raises UserError, before anything is loaded, for a sampler that does not exist or has no Karras variant.
    """
    shots = []
    for index, prompt in enumerate(prompts):
        shot = settle(prompt, index, size=size, sampler=sampler, karras=karras, run_seed=seed)
        row = samplers.row(shot.sampler)
        if shot.karras and not row.karras:
            able = ", ".join(other.name for other in samplers.SAMPLERS if other.karras)
            hint = f"add `--karras off`, or take one of {able}"
            raise UserError(f"the sampler `{row.name}` has no Karras variant", hint, where=prompt.where or "sample_karras")
        shots.append(dataclasses.replace(shot, sampler=row.name))
    return tuple(shots)


def sampler_names() -> tuple[str, ...]:
    """Every name that a prompt may give a sampler."""
    return tuple(name for row in samplers.SAMPLERS for name in (row.name, *row.aliases))


@dataclass(frozen=True)
class Moment:
    """The state of the model that pictures show."""

    step: int
    epoch: int | None = None
    loss: float | None = None  # running mean

    @property
    def tag(self) -> str:
        """The moment in a file name."""
        return f"{self.step:06d}"


@dataclass(frozen=True)
class Made:
    """What one call has made."""

    page: Path
    pictures: tuple[Path, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Painted:
    """The pictures of one state of the model, and what should be said of them."""

    shots: tuple[Shot, ...]  # as they were made: at strength 0 for the base model
    pixels: tuple[Tensor, ...]  # uint8 [H, W, 3] each, on the CPU
    notices: tuple[str, ...]


class Painter:
    """Makes the same pictures again and again as the model changes. All latents come first; then the VAE decodes them in one pass."""

    def __init__(
        self,
        network: Sampled,
        shots: Sequence[Shot],
        condition: Condition,
        decode: Decode,
        *,
        methods: Sequence[Method] = (),
        encoders: Sequence[nn.Module] = (),
        progress: PictureProgress | None = None,
    ) -> None:
        """`condition` is called for each picture, at that picture's strength, so that what an encoder has learned takes effect.

        `encoders` are those that `condition` runs. `methods` are the attached adapters.
        """
        self._network, self._shots, self._condition, self._decode = network, tuple(shots), condition, decode
        self._methods, self._networks, self._progress = tuple(methods), (network.unet, *encoders), progress

    def paint(self, base: bool) -> Painted:
        """Every picture of the model as it is now, or (`base`) without what is trained."""
        shots = tuple(_at_strength(shot, base) for shot in self._shots)
        latents = self._latents(shots)
        return Painted(shots, tuple(self._decode(latents)), _notices(latents))

    def _latents(self, wanted: Sequence[Shot]) -> list[Tensor]:
        """The latents of every picture, float32 on the CPU; the networks are left as they were found."""
        found = []
        with evaluating(*self._networks), _resting(self._methods):
            for number, (shot, made) in enumerate(zip(self._shots, wanted, strict=True)):
                for method in self._methods:
                    method.strength = made.strength
                found.append(generate(self._network, made, self._condition(shot), self._reporting(number)))
        return found

    def _reporting(self, number: int) -> Progress | None:
        """Progress within picture `number` as progress of the whole row."""
        tell = self._progress
        if tell is None:
            return None
        return lambda step, steps: tell(number + 1, len(self._shots), step, steps)


class Previewer:
    """The sample pictures of a run as its model changes: files, and a row of the page for each moment."""

    def __init__(
        self,
        network: Sampled,
        shots: Sequence[Shot],
        condition: Condition,
        decode: Decode,
        folder: Path,
        name: str,
        *,
        origin: png.Provenance,
        methods: Sequence[Method] = (),
        encoders: Sequence[nn.Module] = (),
        progress: PictureProgress | None = None,
    ) -> None:
        """`folder` gets the page, its record and `samples/`; `name` is the run's, in file names and on the page. The rest as `Painter`.

        Raises UserError for a record of an earlier run that cannot be read.
        """
        self._painter = Painter(network, shots, condition, decode, methods=methods, encoders=encoders, progress=progress)
        self._shots, self._folder, self._name, self._origin = tuple(shots), folder, name, origin
        self._record = page.load(folder, name)

    def base(self) -> Made:
        """The row for strength 0: what the model makes without what is trained."""
        return self._make(Moment(0), base=True)

    def at(self, moment: Moment) -> Made:
        """The row of one moment of the training."""
        return self._make(moment, base=False)

    def _make(self, moment: Moment, base: bool) -> Made:
        painted = self._painter.paint(base)
        origin = self._origin if base else dataclasses.replace(self._origin, training_step=moment.step, training_epoch=moment.epoch)
        pictures: dict[Shot, Path] = {}
        for number, (shot, made, pixels) in enumerate(zip(self._shots, painted.shots, painted.pixels, strict=True)):
            target = self._folder / "samples" / picture_name(self._name, None if base else moment, number, shot)
            png.save(target, pixels, png.parameters(made, origin))
            pictures[shot] = target
        row = Row("", moment.step, moment.epoch, moment.loss, base)
        relative = {shot: target.relative_to(self._folder).as_posix() for shot, target in pictures.items()}
        self._record = page.add(self._record, row, relative)
        return Made(page.write(self._folder, self._record), tuple(pictures.values()), painted.notices)


def picture_name(name: str, moment: Moment | None, number: int, shot: Shot) -> str:
    """The file of a run's sample picture; without a moment the base model's."""
    return f"{name}_{moment.tag if moment else 'base'}_{number:02d}_{shot.seed}.png"


def _notices(latents: Sequence[Tensor]) -> tuple[str, ...]:
    """What should be said of latents that are no numbers."""
    broken = [str(number) for number, latent in enumerate(latents, start=1) if not latent.isfinite().all()]
    if not broken:
        return ()
    which = "the pictures of prompts " + ", ".join(broken) if len(broken) > 1 else f"the picture of prompt {broken[0]}"
    return (f"{which} came out as no numbers: the training has diverged, or the model overflows in its number format",)


def _at_strength(shot: Shot, base: bool) -> Shot:
    """The picture as it is made: at its own strength, or at 0."""
    return dataclasses.replace(shot, strength=0.0) if base else shot


@contextlib.contextmanager
def _resting(methods: Sequence[Method]) -> Iterator[None]:
    """Adapters without dropout inside the block; afterwards they are in training mode again, at the strength they had."""
    strengths = [method.strength for method in methods]
    for method in methods:
        method.train(False)
    try:
        yield
    finally:
        for method, strength in zip(methods, strengths, strict=True):
            method.strength = strength
            method.train(True)
