"""What the registries offer, so that the config can check names. None of them imports torch."""

from __future__ import annotations

from engine import adapters, models
from engine.config.rows import Rows
from engine.diffusion import samplers
from engine.optimization import optimizers, schedules


def rows() -> Rows:
    """All tables that settings choose from."""
    return Rows(adapters.METHODS, optimizers.OPTIMIZERS, schedules.SCHEDULES, samplers.SAMPLERS, models.FAMILIES)
