"""The folder a run writes to, its name, and the names of the files in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.errors import UserError
from engine.generation import samples
from engine.generation.prompt import Shot
from engine.generation.samples import Moment

SETTINGS, LOG = "settings.toml", "train.log"
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names Windows keeps for devices


@dataclass(frozen=True)
class RunFolder:
    """`<output_dir>/<name>/`: the trained files, sample pictures, their page, the settings and the log of one run."""

    path: Path
    name: str

    @property
    def final(self) -> Path:
        """The file of the finished run."""
        return self.path / f"{self.name}.safetensors"

    def at_epoch(self, epoch: int) -> Path:
        """The file saved after an epoch, as sd-scripts names it."""
        return self.path / f"{self.name}-{epoch:06d}.safetensors"

    def at_step(self, step: int) -> Path:
        """The file saved after a step, as sd-scripts names it."""
        return self.path / f"{self.name}-step{step:08d}.safetensors"

    def require_names(self, steps: int, shots: Sequence[Shot]) -> None:
        """Raise UserError where the system does not take the longest names that a run of `steps` steps with these pictures will write."""
        pictures = [samples.picture_name(self.name, Moment(steps), number, shot) for number, shot in enumerate(shots)]
        for path in (self.at_step(steps), *(self.path / "samples" / name for name in sorted(pictures, key=len)[-1:])):
            files.require_name(path)

    def give_up(self) -> None:
        """Remove the folder of a run that trained nothing; only if it holds no more than the run's settings and log."""
        if {path.name for path in self.path.iterdir()} <= {SETTINGS, LOG}:
            shutil.rmtree(self.path, ignore_errors=True)


def file_name(text: str) -> str:
    """`text` as a file name that Windows, Linux and a web page accept; without the ending that it will get.

    >>> file_name("miku 1girl"), file_name("a/b: c?"), file_name("con"), file_name("初音 ミク"), file_name("miku.safetensors")
    ('miku_1girl', 'a_b__c_', 'con_', '初音_ミク', 'miku')
    """
    text = re.sub(r"(?i)\.safetensors$", "", text.strip())
    name = _FORBIDDEN.sub("_", text.strip()).replace(" ", "_").rstrip(". ") or "lora"
    return f"{name}_" if _RESERVED.fullmatch(name) else name


def claim(output_dir: Path, name: str) -> RunFolder:
    """Make a folder for this run that no other run has: `<name>`, else `<name>_2`, `<name>_3`, ...

    What an earlier run wrote is never touched. Two runs started at once get two folders, since making a folder is atomic.
    Raises UserError where the folder cannot be made.
    """
    if files.is_there(output_dir) and not output_dir.is_dir():
        raise UserError("this is a file, and runs need a folder", "choose another `output_dir`", where=str(output_dir))
    with files.explained(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        own = name if number == 1 else f"{name}_{number}"
        path = output_dir / own
        try:
            with files.explained(path):
                path.mkdir()
            return RunFolder(path, own)
        except FileExistsError:
            number += 1
