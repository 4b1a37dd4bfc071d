"""A training's state on disk, so that it may be interrupted at any moment and continued: written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from engine import files

EVERY_SECONDS = 600.0


class Snapshot:
    """Networks and an optimizer, with the number of steps that they have behind them, in one file."""

    def __init__(self, path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        self._path = path
        self._networks = networks
        self._optimizer = optimizer
        self._written = time.monotonic()

    def restore(self) -> int:
        """Take over the file's state where there is one; the number of finished steps."""
        if not self._path.exists():
            return 0
        state = torch.load(self._path, weights_only=True)
        for name, network in self._networks.items():
            network.load_state_dict(state["networks"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

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
