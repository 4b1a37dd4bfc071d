"""The demo as it ships: it repeats to the bit, matches the recorded losses on other machines, and its loss falls whatever the seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fixed_loss import fixed_loss
from runs import config, quiet

from engine import files
from engine.training import train as training
from engine.training.session import Result
from engine.training.stop import Stop

pytestmark = pytest.mark.e2e

STEPS = 150  # about half a minute on one core
RECORDED = Path(__file__).parent / "data" / "demo_losses.json"


def demo(root: Path, folder: Path, model: Path, *more: str) -> Sequence[str]:
    """The demo's settings, from the product's folder, without sample pictures."""
    own = ["--config", str(root / "configs/demo.toml"), "--pretrained_model_name_or_path", str(model), "--sample_prompts", ""]
    return [*own, "--sample_every_n_epochs", "0", "--train_data_dir", str(root / "train_data/demo"), "--device", "cpu", *more]


def run(root: Path, folder: Path, model: Path, *more: str) -> Result:
    """Train the demo quietly on one thread."""
    length = ("--max_train_epochs", "0", "--max_train_steps", str(STEPS), "--save_every_n_epochs", "0")
    return training.train(config(folder, *demo(root, folder, model, *length, *more)), reporter=quiet()[0])


def test_the_demo_repeats_to_the_bit_and_as_recorded(root: Path, tmp_path: Path, micro_sd: Path) -> None:
    first, second = run(root, tmp_path, micro_sd), run(root, tmp_path, micro_sd)
    hashes = [files.read_header(result.file).metadata["sshs_model_hash"] for result in (first, second)]
    assert first.losses == second.losses
    assert hashes[0] == hashes[1]
    recorded = {int(step): loss for step, loss in json.loads(RECORDED.read_text(encoding="utf-8")).items()}
    assert first.losses == pytest.approx(recorded, rel=0.01)


@pytest.mark.learning
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_the_loss_over_a_fixed_set_falls(root: Path, tmp_path: Path, micro_sd: Path, seed: int) -> None:
    """Every picture at 8 fixed timesteps with fixed noise, before and after; docs/measurements.md holds the figures."""
    length = ("--max_train_epochs", "0", "--max_train_steps", "60", "--save_every_n_epochs", "0", "--seed", str(seed))
    understood = training.understand(config(tmp_path, *demo(root, tmp_path, micro_sd, *length)), (), quiet()[0])
    loaded = training.load(understood)
    scan = understood.plan.order.scan
    before = fixed_loss(loaded.step, scan, loaded.collate)
    training.go(loaded, training.claim_folder(understood), Stop(understood.reporter.notice))
    loaded.networks.method.train(False)
    after = fixed_loss(loaded.step, scan, loaded.collate)
    assert before.shape == after.shape == (18, 8)
    fall = before - after
    fell = int((fall > 0).sum())
    print(f"seed {seed}: {before.mean():.4f} -> {after.mean():.4f}; fell in {fell} of {fall.numel()} pairs")  # noqa: T201 for -rP
    spread = float(fall.std() / fall.numel() ** 0.5)  # standard error of the mean fall
    assert float(fall.mean()) > 3 * spread
    assert torch.isfinite(after).all()
