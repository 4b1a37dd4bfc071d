"""A training's state on disk, written whole or not at all. So training may be interrupted at any moment, and resumes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from engine import files
from engine.errors import UserError

EVERY_SECONDS = 600.0


class Snapshot:
    """Networks and an optimizer, with the number of steps that they have behind them, in one file."""

    def __init__(self, path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        self._path = path
        self._networks = networks
        self._optimizer = optimizer
        self._written = time.monotonic()

    def restore(self) -> int:
        """Take over the file's state where there is one; the number of finished steps. UserError for a file that is no such state."""
        if not self._path.exists():
            return 0
        try:
            state = torch.load(self._path, weights_only=True)
            for name, network in self._networks.items():
                network.load_state_dict(state["networks"][name])
            self._optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
        except Exception as error:  # whatever torch's reader meets in a damaged file, it raises as it comes
            raise UserError(
                f"{self._path}: this snapshot is damaged, or of another training ({type(error).__name__})",
                hint="move it away, and its part is trained from the beginning; or name another folder with --work",
            ) from error

    def write(self, step: int) -> None:
        """Keep the state after so many steps."""
        state = {
            "step": step,
            "networks": {name: network.state_dict() for name, network in self._networks.items()},
            "optimizer": self._optimizer.state_dict(),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with files.writing(self._path) as partial:
            torch.save(state, partial)
        self._written = time.monotonic()

    def due(self) -> bool:
        """Whether the last one is ten minutes old."""
        return time.monotonic() - self._written >= EVERY_SECONDS
