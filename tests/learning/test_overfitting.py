"""Overfitting shows where it should: on pictures held out, while the loss of those trained on still falls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fixed_loss import fixed_loss
from lessons import STEPS, creatures, learned, train
from runs import config, quiet

from engine.generation.generate import Sampled
from engine.training import train as training
from recipes.micro_base import creature, scenes
from recipes.micro_base.quality import Model

pytestmark = pytest.mark.learning


def test_the_held_out_loss_turns_while_the_training_loss_falls(base: Model, micro_sd: Path, tmp_path: Path) -> None:
    grounds = list(scenes.GROUNDS)
    folder = f"10_{creature.TRIGGER} {creature.CLASS}"
    shown = creatures(tmp_path / "shown" / folder, creature.caption, grounds, 4).parent
    kept = creatures(tmp_path / "kept" / folder, creature.caption, grounds, 10, first=50).parent
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
        for method in loaded.networks.methods:
            method.detach()
        step = loaded.step
        measured = Model(Sampled(step.family, step.unet, step.device), step.encoders, base.vae)
        curve = []
        for file in files:
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
