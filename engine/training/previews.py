"""Sample pictures of a run, wired to its networks. Which prompts, when, and what they need kept in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine import allocation
from engine.config.schema import Config
from engine.errors import UserError
from engine.generation import conditioning, page, promptfile, samples
from engine.generation.decoding import decode
from engine.generation.generate import Sampled
from engine.generation.png import Provenance
from engine.generation.prompt import Shot
from engine.generation.samples import Moment, PictureProgress, Previewer
from engine.models.family import Cond
from engine.training.assembly import Networks
from engine.training.encoding import Text, TextEncoder
from engine.training.export import due
from engine.training.loop import Update
from engine.training.run import Run
from engine.training.runfolder import RunFolder
from engine.vram import less


def plan_shots(config: Config, resolution: tuple[int, int]) -> tuple[Shot, ...]:
    """The pictures that the settings ask for, of `resolution` (width, height) where a prompt names no size; none without a prompt file.

    Raises UserError before anything is loaded.
    """
    sample = config.sample
    if not sample.sample_prompts:
        if sample.sample_every_n_epochs or sample.sample_every_n_steps or sample.sample_at_first:
            hint = "set sample_prompts to a text file with a prompt a line"
            raise UserError("sample pictures are asked for, but no prompts are given", hint, where="sample_prompts")
        return ()
    prompts = promptfile.read(Path(sample.sample_prompts), samples.sampler_names())
    return samples.plan(prompts, size=resolution, sampler=sample.sample_sampler, karras=sample.sample_karras, seed=config.training.seed)


@dataclass(frozen=True)
class Previews:
    """The pictures of a run, planned. `conds` holds prompts encoded ahead, where the encoders are not trained."""

    run: Run
    conds: Mapping[tuple[str, str], Cond]  # by (prompt, negative prompt)

    def due(self, update: Update) -> bool:
        """Whether pictures are made after this step; epochs win over steps, as in sd-scripts."""
        sample = self.run.config.sample
        every_steps = None if sample.sample_every_n_epochs else sample.sample_every_n_steps
        return due(sample.sample_every_n_epochs, every_steps, update)

    def start(self, networks: Networks, folder: RunFolder, progress: PictureProgress) -> RunningPreviews | None:
        """The previewer over the loaded networks, the base model's row made; None without prompts."""
        if not self.run.shots:
            return None
        running = RunningPreviews(self, networks, folder, progress)
        running.base()
        if self.run.config.sample.sample_at_first and self.run.config.network.network_weights:
            running.make(Update(0, 1, (), 0, False), None)  # without weights to continue from, the base row shows the same
        return running


def prepare_previews(run: Run, text: Text, encoder: TextEncoder) -> Previews:
    """Encode the prompts now where the encoders are not trained, so that nobody needs the encoders later."""
    family = run.base.family
    conds: dict[tuple[str, str], Cond] = {}
    for shot in run.shots:
        warning = conditioning.overlong(shot)
        if warning:
            run.reporter.notice(warning)
        if not text.way.trains:
            made = conditioning.encode(family, encoder.networks(), shot, run.config.model.clip_skip)
            conds[shot.text, shot.negative] = family.unpack({name: tensor.cpu() for name, tensor in family.pack(made).items()})
    return Previews(run, conds)


class RunningPreviews:
    """The previewer of a run under way."""

    def __init__(self, previews: Previews, networks: Networks, folder: RunFolder, progress: PictureProgress) -> None:
        run = previews.run
        base, compute = run.base, run.compute
        self._run = run
        self._conds = previews.conds
        self._networks = networks
        self._vae: torch.nn.Module | None = None
        self.page = (folder.path / page.PAGE).resolve()
        self._previewer = Previewer(
            Sampled(base.family, networks.unet, compute.device, base.prediction, base.zero_terminal_snr),
            run.shots,
            self._condition,
            self._decode,
            folder.path,
            folder.name,
            origin=Provenance(
                model=base.path.stem,
                model_hash=base.file_hash()[:10] or None,
                clip_skip=base.clip_skip,
            ),
            methods=networks.methods,
            encoders=tuple(networks.encoders.values()),
            progress=progress,
        )

    def base(self) -> None:
        """The row for strength 0."""
        with self._explained():
            self._previewer.base()
        self._run.reporter.say("pictures of the base model made")

    def make(self, update: Update, loss: float | None) -> None:
        """The row of this step. Raises CardError where the memory does not suffice for it."""
        with self._explained():
            made = self._previewer.at(Moment(update.step, update.epoch, loss))
        self._run.reporter.say(f"pictures of step {update.step} made: {made.page}")
        for notice in made.notices:
            self._run.reporter.notice(notice)

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return allocation.explained(self._run.compute.device, less.for_samples())

    def _condition(self, shot: Shot) -> Cond:
        ahead = self._conds.get((shot.text, shot.negative))
        if ahead is not None:
            return ahead
        return conditioning.encode(self._run.base.family, self._networks.encoders, shot, self._run.config.model.clip_skip)

    def _decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """The VAE waits in host memory from the first pictures on, and is on the card for all pictures of a moment."""
        base, compute = self._run.base, self._run.compute
        if self._vae is None:
            self._vae = base.load("vae", base.family.vae_dtype(compute.dtype, self._run.config.model.no_half_vae), "cpu")
        return decode(base.family, self._vae, latents, compute.device)
