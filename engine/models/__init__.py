"""Model families: recognising, reading and writing base models, and running their networks.

The registry is data: reading it imports no torch. `get` imports the one family that is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import find_row

if TYPE_CHECKING:
    from engine.models.family import Checkpoint, Family


@dataclass(frozen=True)
class FamilyRow:
    """One family in the registry. Sizes in pixels."""

    name: str
    help: str
    default_resolution: int
    max_bucket: int  # the longest side of a bucket unless the user says otherwise
    make: Callable[[], Family]  # imports torch


def _sd1() -> Family:
    from engine.models.sd import StableDiffusion

    return StableDiffusion()


def _sdxl() -> Family:
    from engine.models.sdxl import StableDiffusionXL

    return StableDiffusionXL()


FAMILIES: tuple[FamilyRow, ...] = (
    FamilyRow("sd1", "Stable Diffusion 1.x and models trained from it", 512, 1024, _sd1),
    FamilyRow("sdxl", "Stable Diffusion XL base and models trained from it", 1024, 2048, _sdxl),
)


def row(name: str) -> FamilyRow:
    """The registry's row of that name. Raises UserError for an unknown one."""
    return find_row(FAMILIES, name, "model family", "family")


def row_of(checkpoint: Checkpoint) -> FamilyRow:
    """The row of a recognised model, with the resolution that its file names, where it names one."""
    found = row(checkpoint.family)
    return dataclasses.replace(found, default_resolution=checkpoint.resolution or found.default_resolution)


def get(name: str) -> Family:
    """The family of that name; this imports torch. Raises UserError for an unknown one."""
    return row(name).make()
