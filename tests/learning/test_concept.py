"""A LoRA learns a creature that the base never saw, under its trigger word, and strength means what it says."""

from __future__ import annotations

import pytest
import torch
from lessons import made

from engine.training.session import Result
from recipes.micro_base import card, creature, quality, scenes
from recipes.micro_base.quality import Model

pytestmark = pytest.mark.learning

PROMPTS = [creature.caption(ground) for ground in scenes.GROUNDS] * 8


def test_the_concept_appears_with_the_trigger(base: Model, captioned: Result) -> None:
    real = float(quality.likeness(card.creatures(60)).mean())
    scores = {strength: float(quality.likeness(made(base, captioned.file, PROMPTS, strength)).mean()) for strength in (-0.5, 0.0, 0.5, 1.0)}
    print(f"real pictures {real:.3f}; by strength {scores}")  # noqa: T201 for -rP
    assert scores[1.0] >= 0.8 * real
    assert scores[0.0] < scores[0.5] < scores[1.0]
    assert scores[-0.5] < scores[0.0]


def test_strength_0_is_the_base_to_the_bit(base: Model, captioned: Result) -> None:
    assert torch.equal(made(base, captioned.file, PROMPTS[:5], 0.0), made(base, None, PROMPTS[:5]))
