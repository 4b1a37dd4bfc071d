"""What the registries of the rooms offer, for the config to check names and options against. None of them imports torch."""

from __future__ import annotations

from engine import adapters, models
from engine.config.rows import Rows
from engine.diffusion import samplers
from engine.optimization import optimizers, schedules


def rows() -> Rows:
    """All tables that settings choose from."""
    return Rows(adapters.METHODS, optimizers.OPTIMIZERS, schedules.SCHEDULES, samplers.SAMPLERS, models.FAMILIES)
