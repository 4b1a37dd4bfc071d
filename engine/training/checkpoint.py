"""The files a run saves: the trained tensors with their metadata, under sd-scripts' names, old ones removed as the settings say."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from engine import tensorfile
from engine.adapters import lorafile
from engine.adapters.base import Method
from engine.config.schema import Config
from engine.errors import UserError
from engine.training.loop import Update
from engine.training.metadata import Facts, modelspec, run_metadata
from engine.training.progress import Diverged
from engine.training.runfolder import RunFolder

SAVE_DTYPES = {None: torch.float32, "float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class NothingLearned(UserError):
    """A file would leave the base model as it is."""


class Exporter:
    """Saves a method's tensors as a file other programs load, and remembers what it saved."""

    def __init__(self, folder: RunFolder, method: Method, config: Config, facts: Facts) -> None:
        self._folder = folder
        self._method = method
        self._config = config
        self._facts = facts
        self._epoch_files: list[Path] = []
        self._step_files: list[tuple[int, Path]] = []

    @property
    def kept(self) -> list[Path]:
        """The files of earlier steps that are there."""
        return [*self._epoch_files, *(path for _, path in self._step_files)]

    def save(self, path: Path, epoch: int, step: int) -> Path:
        """Write the file as it stands after `step` steps; it replaces an older one of that name only when it is whole.

        Raises Diverged where there is nothing but broken numbers to save, NothingLearned where the file would change nothing, UserError
        where the disk refuses.
        """
        tensors = self._numbers()
        now = time.time()
        ss = run_metadata(self._config, self._facts, lorafile.sizes(tensors), epoch, step, now)
        tensorfile.write(path, tensors, file_metadata(tensors, ss, modelspec(self._config, self._facts, now)))
        return path

    def after_epoch(self, epoch: int, step: int) -> Path:
        """Save at the end of an epoch and remove files older than the last n."""
        path = self.save(self._folder.at_epoch(epoch), epoch, step)
        self._epoch_files.append(path)
        keep = self._config.save.save_last_n_epochs
        while keep and len(self._epoch_files) > keep:
            _remove(self._epoch_files.pop(0))
        return path

    def after_step(self, epoch: int, step: int) -> Path:
        """Save after a step and remove files more than n steps older."""
        path = self.save(self._folder.at_step(step), epoch, step)
        self._step_files.append((step, path))
        keep = self._config.save.save_last_n_steps
        while keep and self._step_files[0][0] < step - keep:
            _remove(self._step_files.pop(0)[1])
        return path

    def last(self, path: Path, epoch: int, step: int) -> Path:
        """Save at the end of a run. Raises UserError where the folder refuses, after saving elsewhere if another place takes the file."""
        try:
            return self.save(path, epoch, step)
        except (Diverged, NothingLearned):
            raise
        except UserError as error:
            try:
                short = f"{path.stem[:40]}{path.suffix}"  # the length of the name may be what is refused
                elsewhere = Path(tempfile.mkdtemp(prefix="lora-")) / short
                self.save(elsewhere, epoch, step)
            except (UserError, OSError):
                told = f"{error.message}, and neither would the temporary folder take it: what was trained since the last file is lost"
                raise UserError(told, error.hint, where=error.where) from error
            told = f"{error.message}; the LoRA was saved as {elsewhere} instead"
            raise UserError(told, "it is complete: move it to where you want it", where=error.where) from error

    def _numbers(self) -> dict[str, Tensor]:
        """The tensors to save, all of them finite, and not all of them without effect."""
        precision = self._config.save.save_precision
        tensors = self._method.tensors(SAVE_DTYPES[precision])
        broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        empty = lorafile.is_empty(tensors)
        if not broken and not empty:
            return tensors
        exact = self._method.tensors(torch.float32)
        if empty and not broken:
            if lorafile.is_empty(exact):
                told = "nothing was learned: every `lora_up` of the LoRA is still zero"
                raise NothingLearned(told, "raise learning_rate; train.log has the losses", where="learning_rate")
            told = f"everything trained is too small for {precision}, in which every `lora_up` of the LoRA would be zero"
            raise NothingLearned(told, "set save_precision = float, or raise the learning rate", where="save_precision")
        if all(bool(exact[name].isfinite().all()) for name in broken):
            told = f"{len(broken)} of the trained tensors hold values that {precision} cannot, such as `{broken[0]}`"
            raise Diverged(told, "lower the learning rate, or set save_precision = float", where="save_precision")
        told = f"the training has diverged: {len(broken)} of {len(tensors)} trained tensors are not numbers any more"
        raise Diverged(told, "lower the learning rate", where="learning_rate")


def file_metadata(tensors: dict[str, Tensor], ss: dict[str, str], spec: dict[str, str]) -> dict[str, str]:
    """All metadata of a file: the run's, the Model Spec's, and the two hashes taken over the tensors and `ss_*`."""
    model_hash, legacy_hash = lorafile.hashes(tensors, ss)
    return {**ss, **spec, "sshs_model_hash": model_hash, "sshs_legacy_hash": legacy_hash}


def due(every_epochs: int | None, every_steps: int | None, update: Update) -> bool:
    """Whether something that happens every n epochs or every n steps happens after this step.

    >>> due(2, None, Update(40, 4, (1,), 0, True)), due(None, 25, Update(50, 1, (1,), 0, False))
    (True, True)
    """
    if every_epochs and update.ends_epoch and update.epoch % every_epochs == 0:
        return True
    return bool(every_steps and update.step % every_steps == 0)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # held open by another program: it stays, and nothing is lost
        path.unlink()
