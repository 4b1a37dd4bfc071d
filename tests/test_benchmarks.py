"""The benchmarks themselves, on the micro model: that they run, and that their sums are right."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import against_sd_scripts, models, step, tag
from benchmarks.clock import Gap, Record
from benchmarks.counts import counted
from engine.models import blueprint

PARAMETERS = {
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sdxl": {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_random_models_have_the_size_of_the_real_ones(name: str) -> None:
    found = {part: sum(map(math.prod, blueprint.tensors(spec).values())) for part, spec in models.SPECS[name][1].items()}
    assert found == PARAMETERS[name]


@pytest.mark.slow
def test_the_step_benchmark_measures_everything(
    tmp_path: Path, micro_sd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "make", lambda name, folder: micro_sd)
    size = ["--resolution", "64", "--dim", "4", "--steps", "6", "--pictures", "3", "--captions", "16", "--device", "cpu"]
    step.main(["sd15", *size, "--folder", str(tmp_path), "--min_bucket_reso", "64", "--train_text", "--gradient_checkpointing"])
    told = json.loads(capsys.readouterr().out)
    assert told["settings"] == ["--min_bucket_reso", "64", "--gradient_checkpointing"]
    assert set(told["loading_seconds"]) == {"recognise", "unet", "vae", "text_encoder"}
    exact = told["exact"]
    assert exact["gradients"]["bytes"] == exact["trained unet"]["bytes"] + exact["trained text_encoder"]["bytes"] > 0
    assert exact["unet"]["bytes"] > 0
    assert told["caching"]["pictures_per_second"] > 0
    assert told["caching"]["captions_per_second"] > 0
    times = told["step_seconds"]
    assert times["steps"] == 4  # of six, the first third left out
    assert 0 < times["lower_quartile"] <= times["median"] <= times["upper_quartile"]
    assert all(count > 0 for count in told["operations"].values())
    assert told["reads"] == {"forward": 0, "backward": 0, "optimizer": 0}
    assert {"commit", "machine", "versions"} <= told.keys()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_benchmark_of_tag_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    tag.main(["--pictures", "3", "--side", "256", "--width", "2", "--rounds", "1"])
    told = json.loads(capsys.readouterr().out)
    assert set(told["pictures_per_second"]) == {"plain_loop", "tag", "tag_again"} and min(told["pictures_per_second"].values()) > 0
    assert {"commit", "machine", "versions", "settings"} <= told.keys()


def test_counting_sees_views_reads_and_the_backward_pass() -> None:
    weight = torch.ones(2, 2, requires_grad=True)

    def code() -> None:
        total = (weight @ weight).t().sum()
        total.backward()
        total.item()
        weight[weight > 0]
        weight[torch.tensor([0])]

    count = counted(code)
    assert count.operations["mm"] == 3  # one forward, two backward
    assert not count.operations["t"]
    assert dict(count.reads) == {"_local_scalar_dense": 1, "index": 1}  # a mask's length is read, an index is not


def test_counting_sees_what_goes_to_another_device() -> None:
    assert counted(lambda: torch.zeros(2).to("meta")).uploads.total() == 1
    assert not counted(lambda: torch.zeros(2).to(torch.float64)).uploads


SCRIPT = """
import sys
import torch
from transformers import CLIPTextConfig, CLIPTextModel
text = CLIPTextModel(CLIPTextConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8))
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.AdamW([weight])
for _ in range(int(sys.argv[1])):
    text(torch.zeros((1, 3), dtype=torch.int64))
    weight.sum().backward()
    optimizer.step()
"""


@pytest.mark.slow
def test_the_clock_times_a_script_from_outside(tmp_path: Path, root: Path) -> None:
    script, out = tmp_path / "train.py", tmp_path / "clock.json"
    script.write_text(SCRIPT, encoding="utf-8")
    subprocess.run([sys.executable, str(root / "benchmarks" / "clock.py"), str(out), str(script), "4"], check=True, timeout=120)
    record: Record = json.loads(out.read_text(encoding="utf-8"))
    assert len(record["steps"]) == 3
    assert all(0 < gap["text_seconds"] < gap["seconds"] for gap in record["steps"])


def test_the_comparison_leaves_out_the_first_third_and_the_text() -> None:
    gap = Gap(seconds=3.0, cpu_seconds=6.0, text_seconds=0.5, text_cpu_seconds=1.0)
    slow = Gap(seconds=9.0, cpu_seconds=9.0, text_seconds=0.5, text_cpu_seconds=1.0)
    found = against_sd_scripts.measured(Record(steps=[slow, slow, gap, gap, gap, gap], peak_vram=0, peak_rss=None))
    assert (found.seconds, found.cpu_seconds, found.text_seconds) == (2.5, 5.0, 0.5)
    assert against_sd_scripts.Round(found, found).report()["ratio"] == 1.0
