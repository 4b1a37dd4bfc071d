"""The demo as it ships: it repeats to the bit, matches the recorded losses on other machines, and its page shows the concept appearing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from runs import config, quiet

from engine import headers
from engine.training import train as training
from engine.training.session import Result
from recipes.micro_base import quality
from recipes.micro_base.autoencoder import as_tensor

pytestmark = pytest.mark.e2e

STEPS = 60
RECORDED = Path(__file__).parent / "data" / "demo_losses.json"


def run(root: Path, folder: Path, *more: str) -> Result:
    """Train the demo quietly on one thread; what it writes goes into the folder."""
    paths = {
        "pretrained_model_name_or_path": "models/micro/micro-sd.safetensors",
        "train_data_dir": "train_data/demo",
        "sample_prompts": "train_data/demo/sample_prompts.txt",
    }
    placed = [word for name, path in paths.items() for word in (f"--{name}", str(root / path))]
    flags = ["--config", str(root / "configs/demo.toml"), *placed, "--device", "cpu", *more]
    return training.train(config(folder, *flags), reporter=quiet()[0])


def test_the_demo_repeats_to_the_bit_and_as_recorded(root: Path, tmp_path: Path) -> None:
    short = ("--max_train_epochs", "0", "--max_train_steps", str(STEPS), "--save_every_n_epochs", "0", "--sample_prompts", "")
    first, second = (run(root, tmp_path, *short, "--sample_every_n_epochs", "0") for _ in range(2))
    hashes = [headers.read(result.file).metadata["sshs_model_hash"] for result in (first, second)]
    assert first.losses == second.losses
    assert hashes[0] == hashes[1]
    recorded = {int(step): loss for step, loss in json.loads(RECORDED.read_text(encoding="utf-8")).items()}
    assert first.losses == pytest.approx(recorded, rel=0.05)


def test_the_page_shows_the_concept_appearing(root: Path, tmp_path: Path) -> None:
    result = run(root, tmp_path)
    samples = result.file.parent / "samples"
    assert (result.file.parent / "samples.html").is_file()

    def likeness(tag: str) -> list[float]:
        rows = sorted(samples.glob(f"demo_{tag}_*.png"))
        assert len(rows) == 4
        return quality.likeness(torch.stack([as_tensor(Image.open(path).convert("RGB")) for path in rows])).tolist()

    base, last = likeness("base"), likeness(f"{result.step:06d}")
    print("likeness by prompt, before and after:", [round(value, 2) for value in base], [round(value, 2) for value in last])  # noqa: T201 for -rP
    assert min(last[:3]) > max(base[:3]) + 0.2  # the three prompts with the trigger word
