"""A run as its settings say it, before any network is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.schema import Config
from engine.console import Reporter
from engine.device import Compute
from engine.generation.prompt import Shot
from engine.models.base_model import Base
from engine.training.methods import Chosen
from engine.training.plan import Plan


@dataclass(frozen=True)
class Run:
    """Everything decided; nothing loaded, nothing written."""

    config: Config
    compute: Compute
    base: Base
    plan: Plan
    chosen: Chosen  # what is trained
    shots: tuple[Shot, ...]  # the sample pictures
    reporter: Reporter

    @property
    def trained_text(self) -> frozenset[str]:
        """The text encoders that are trained."""
        return self.chosen.trains.intersection(self.base.family.text_parts)
