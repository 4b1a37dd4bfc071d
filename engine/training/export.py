"""The files that a run saves, and which of them it removes again. They are what its methods write, under sd-scripts' names."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.adapters.base import Diverged, Method, NothingLearned
from engine.config.schema import Config
from engine.errors import UserError
from engine.training.loop import Update
from engine.training.metadata import Facts, modelspec, run_metadata
from engine.training.runfolder import RunFolder

_SAVE_DTYPES = {None: torch.float32, "float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Exporter:
    """Has the methods write what they trained as files that other programs load, and remembers what was written."""

    def __init__(self, folder: RunFolder, methods: Sequence[Method], config: Config, facts: Facts) -> None:
        self._folder = folder
        self._methods = tuple(methods)
        self._config = config
        self._dtype = _SAVE_DTYPES[config.save.save_precision]
        self._facts = facts
        self._epoch_files: list[tuple[Path, ...]] = []
        self._step_files: list[tuple[int, tuple[Path, ...]]] = []

    @property
    def kept(self) -> list[Path]:
        """The files of earlier steps that are there."""
        return [path for paths in (*self._epoch_files, *(paths for _, paths in self._step_files)) for path in paths]

    def save(self, path: Path, epoch: int, step: int) -> tuple[Path, ...]:
        """Write what is trained as it stands after `step` steps; an older file of that name is replaced only when the new one is whole.

        Raises Diverged where there is nothing but broken numbers to save, NothingLearned where a file would change nothing, UserError
        where the disk refuses.
        """
        metadata = self._metadata(epoch, step)
        return tuple(file for method in self._methods for file in method.write(path, self._dtype, metadata))

    def size(self, epoch: int, step: int) -> int:
        """Bytes of what `save` would write. The time that is written into it may be a digit or two longer."""
        metadata = self._metadata(epoch, step)
        return sum(method.size(self._dtype, metadata) for method in self._methods)

    def _metadata(self, epoch: int, step: int) -> dict[str, str]:
        now = time.time()
        return {**run_metadata(self._config, self._facts, epoch, step, now), **modelspec(self._config, self._facts, now)}

    def after_epoch(self, epoch: int, step: int) -> None:
        """Save at the end of an epoch and remove files older than the last n."""
        self._epoch_files.append(self.save(self._folder.at_epoch(epoch), epoch, step))
        keep = self._config.save.save_last_n_epochs
        while keep and len(self._epoch_files) > keep:
            _remove(self._epoch_files.pop(0))

    def after_step(self, epoch: int, step: int) -> None:
        """Save after a step and remove files more than n steps older."""
        self._step_files.append((step, self.save(self._folder.at_step(step), epoch, step)))
        keep = self._config.save.save_last_n_steps
        while keep and self._step_files[0][0] < step - keep:
            _remove(self._step_files.pop(0)[1])

    def last(self, path: Path, epoch: int, step: int) -> tuple[Path, ...]:
        """Save at the end of a run. Raises UserError where the folder refuses, after saving elsewhere if another place takes the file."""
        try:
            return self.save(path, epoch, step)
        except (Diverged, NothingLearned):
            raise
        except UserError as error:
            try:
                short = f"{path.stem[:40]}{path.suffix}"  # the length of the name may be what is refused
                elsewhere = self.save(Path(tempfile.mkdtemp(prefix="lora-")) / short, epoch, step)[0]
            except (UserError, OSError):
                told = f"{error.message}, and neither would the temporary folder take it: what was trained since the last file is lost"
                raise UserError(told, error.hint, where=error.where) from error
            told = f"{error.message}; the LoRA was saved as {elsewhere} instead"
            raise UserError(told, "it is complete: move it to where you want it", where=error.where) from error


def due(every_epochs: int | None, every_steps: int | None, update: Update) -> bool:
    """Whether something that happens every n epochs or every n steps happens after this step.

    >>> due(2, None, Update(40, 4, (1,), 0, True)), due(None, 25, Update(50, 1, (1,), 0, False))
    (True, True)
    """
    if every_epochs and update.ends_epoch and update.epoch % every_epochs == 0:
        return True
    return bool(every_steps and update.step % every_steps == 0)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # held open by another program: it stays, and nothing is lost
            path.unlink()
