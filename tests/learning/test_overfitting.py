"""Overfitting shows where it should: on pictures held out, while the loss of those trained on still falls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fixed_loss import fixed_loss
from lessons import RATE, STEPS, creatures, learned, made, train
from runs import config, quiet

from engine.training import train as training
from engine.training.session import Result
from recipes.micro_base import creature, quality, scenes
from recipes.micro_base.quality import Model

pytestmark = pytest.mark.learning

PROMPTS = [f"{creature.TRIGGER}, {creature.CLASS}, {ground} background" for ground in scenes.GROUNDS] * 8


def caption(ground: str) -> str:
    return f"{creature.TRIGGER}, {creature.CLASS}, {ground} background"


def test_the_held_out_loss_turns_while_the_training_loss_falls(base: Model, micro_sd: Path, tmp_path: Path) -> None:
    grounds = list(scenes.GROUNDS)
    folder = f"10_{creature.TRIGGER} {creature.CLASS}"
    shown = creatures(tmp_path / "shown" / folder, caption, grounds, 4).parent
    kept = creatures(tmp_path / "kept" / folder, caption, grounds, 10, first=50).parent
    every = STEPS // 6
    result = train(micro_sd, tmp_path, shown, "--save_every_n_steps", str(every), "--lr_scheduler", "constant", "--lr_warmup_steps", "0")
    files = [*sorted(result.file.parent.glob("*-step*.safetensors")), result.file]
    assert len(files) == 6
    curves = {}
    for name, pictures in (("shown", shown), ("kept", kept)):
        settings = config(tmp_path, "--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(pictures),
                          "--resolution", "64", "--device", "cpu", "--max_train_steps", "1")  # fmt: skip
        understood = training.understand(settings, (), quiet()[0])
        loaded = training.load(understood)
        loaded.networks.method.detach()
        judge = Model(base.network, base.encoders, base.vae)
        step = loaded.step
        curve = []
        for file in files:
            measured = Model(judge.network.__class__(base.network.family, step.unet, step.device), step.encoders, base.vae)
            with learned(measured, file):
                curve.append(fixed_loss(step, understood.plan.order.scan, loaded.collate))
        curves[name] = torch.stack(curve)  # [files, pictures, timesteps]
    means = {name: curve.mean((1, 2)).tolist() for name, curve in curves.items()}
    print({name: [round(value, 4) for value in values] for name, values in means.items()})  # noqa: T201 for -rP
    best = min(range(len(files)), key=lambda number: means["kept"][number])
    rise = (curves["kept"][-1] - curves["kept"][best]).flatten()
    assert best < len(files) - 1
    assert float(rise.mean()) > 2 * float(rise.std()) / rise.numel() ** 0.5
    assert means["shown"][-1] < means["shown"][best]


def test_a_rate_ten_times_too_high_is_visibly_worse(base: Model, micro_sd: Path, captioned: Result, tmp_path: Path) -> None:
    pictures = creatures(tmp_path / "pictures" / f"10_{creature.TRIGGER} {creature.CLASS}", caption, ["grey"]).parent
    hot = train(micro_sd, tmp_path, pictures, "--learning_rate", str(10 * RATE))
    scores = [float(quality.likeness(made(base, file, PROMPTS)).mean()) for file in (captioned.file, hot.file)]
    print(f"rate {RATE}: {scores[0]:.3f}; {10 * RATE}: {scores[1]:.3f}")  # noqa: T201 for -rP
    assert scores[1] < scores[0] - 0.1
