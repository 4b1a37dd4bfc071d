"""When sample pictures are made, and which the settings ask for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.config.schema import Config, SampleConfig, TrainingConfig
from engine.errors import UserError
from engine.training.loop import Update
from engine.training.previews import Previews, plan_shots
from engine.training.run import Run

# settings -> the steps after which pictures are made, of 12 steps in epochs of 3
DUE: list[tuple[dict[str, int], list[int]]] = [
    ({}, []),
    ({"sample_every_n_steps": 5}, [5, 10]),
    ({"sample_every_n_steps": 1}, list(range(1, 13))),
    ({"sample_every_n_epochs": 1}, [3, 6, 9, 12]),
    ({"sample_every_n_epochs": 2}, [6, 12]),
    ({"sample_every_n_epochs": 3, "sample_every_n_steps": 1}, [9]),  # epochs win, as in sd-scripts
]


@pytest.mark.parametrize(("settings", "expected"), DUE)
def test_when_pictures_are_made(settings: dict[str, int], expected: list[int]) -> None:
    previews = Previews(cast(Run, SimpleNamespace(config=Config(sample=SampleConfig(**settings)))), {})
    updates = [Update(step, (step + 2) // 3, (1,), step - 1, step % 3 == 0) for step in range(1, 13)]
    assert [update.step for update in updates if previews.due(update)] == expected


def test_pictures_follow_the_settings_where_a_prompt_says_nothing(tmp_path: Path) -> None:
    prompts = tmp_path / "提示 詞.txt"
    prompts.write_text("a cat\na dog --w 128 --h 64 --d 7\n", encoding="utf-8")
    sample = SampleConfig(sample_prompts=str(prompts), sample_sampler="ddim", sample_karras=False)
    cat, dog = plan_shots(Config(sample=sample, training=TrainingConfig(seed=5)), (64, 192))
    assert [(shot.text, shot.width, shot.height, shot.sampler, shot.karras) for shot in (cat, dog)] == [
        ("a cat", 64, 192, "ddim", False), ("a dog", 128, 64, "ddim", False),
    ]  # fmt: skip
    assert dog.seed == 7
    other, _ = plan_shots(Config(sample=sample, training=TrainingConfig(seed=6)), (64, 192))
    assert other.seed != cat.seed


@pytest.mark.parametrize("asked", [{"sample_every_n_epochs": 1}, {"sample_every_n_steps": 1}, {"sample_at_first": True}])
def test_pictures_without_prompts_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="sample pictures are asked for, but no prompts are given") as caught:
        plan_shots(Config(sample=SampleConfig(**asked)), (64, 64))
    assert caught.value.where == "sample_prompts" and caught.value.hint


def test_without_prompts_and_wishes_there_are_none() -> None:
    assert plan_shots(Config(), (64, 64)) == ()
