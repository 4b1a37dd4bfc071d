"""Our step beside sd-scripts' on the same work, A/B/A/B. `python -m benchmarks.against_sd_scripts --peer CHECKOUT [--peer-python PYTHON]`.

The peer is a checkout of the user's own with its packages installed; nothing of it is part of this project. Both train the same random
full-size SD 1.5 on the same pictures: batch 1, dim 32, U-Net only, AdamW, cached latents, fp32 on a CPU and bf16 on a GPU. sd-scripts
encodes the text of SD 1.5 in every step; that time is taken off, so that only the same work is compared. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import models, pictures
from benchmarks.clock import Record
from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parent.parent
_TOKENIZER = "openai_clip-vit-large-patch14"  # the folder name sd-scripts looks for


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_sd_scripts", description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="folder of an sd-scripts checkout")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has its packages")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps a run; the first third is left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "engine-benchmarks")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model = models.make("sd15", args.folder)
    data = pictures.make(args.folder / f"pictures-{args.resolution}", args.resolution)
    precision = "bf16" if _has_gpu() else "no"
    shared = [
        "--pretrained_model_name_or_path", str(model), "--train_data_dir", str(data),
        "--resolution", f"{args.resolution},{args.resolution}", "--caption_extension", ".txt",
        "--network_module", "networks.lora", "--network_dim", "32", "--network_alpha", "16",
        "--network_train_unet_only", "--train_batch_size", "1", "--max_train_steps", str(args.steps), "--learning_rate", "1e-4",
        "--optimizer_type", "AdamW", "--mixed_precision", precision, "--sdpa", "--cache_latents", "--max_data_loader_n_workers", "0",
        "--seed", "1", "--save_precision", "fp16", "--output_name", "benchmark",
    ]  # fmt: skip
    peer = [*shared, "--tokenizer_cache_dir", str(_tokenizer(args.folder))]
    ours = [*shared, "--cache_dir", str(args.folder / "cache"), "--logging_dir", ""]
    rounds: list[Round] = []
    for _ in range(args.rounds):
        mine = _run([sys.executable, "-m", "benchmarks.clock"], ["-m", "engine", "train", *ours], ROOT)
        clock = [args.peer_python, str(ROOT / "benchmarks" / "clock.py")]
        theirs = _run(clock, [str(args.peer / "train_network.py"), *peer], args.peer)
        rounds.append(Round(mine, theirs))
        print(json.dumps(rounds[-1].report()), file=sys.stderr)
    ratios = [found.ours.seconds / found.theirs.seconds for found in rounds]
    result = {
        "benchmark": "sd15 step against sd-scripts",
        "resolution": args.resolution,
        "precision": precision,
        "steps": args.steps,
        "ratio_median": statistics.median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "cpu_ratio_median": statistics.median(found.ours.cpu_seconds / found.theirs.cpu_seconds for found in rounds),
        "rounds": [found.report() for found in rounds],
        **describe(),
    }
    print(json.dumps(result, indent=1))


@dataclass(frozen=True)
class Measured:
    """One run of a trainer: medians over its steps, text encoding taken off."""

    seconds: float
    lower_quartile: float
    upper_quartile: float
    cpu_seconds: float  # of all threads: what other programs on the machine take away does not count here
    text_seconds: float  # what was taken off
    peak_rss_bytes: int | None  # of the whole run, loading and encoding included
    peak_vram_bytes: int


@dataclass(frozen=True)
class Round:
    """One run of each, one after the other."""

    ours: Measured
    theirs: Measured

    def report(self) -> dict[str, object]:
        """For the JSON."""
        return {"ours": asdict(self.ours), "sd_scripts": asdict(self.theirs), "ratio": self.ours.seconds / self.theirs.seconds}


def _run(clock: list[str], command: list[str], folder: Path) -> Measured:
    """Run one trainer under the clock, in `folder`; the file that it trains is thrown away."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "clock.json"
        whole = [*clock, str(out), *command, "--output_dir", scratch]
        done = subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not out.is_file():
            raise SystemExit(f"the run failed ({done.returncode}):\n{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return measured(json.loads(out.read_text(encoding="utf-8")))


def measured(record: Record) -> Measured:
    """What a clock's record says of the steps after the first third, in which memory is claimed and kernels are chosen."""
    steps = record["steps"][len(record["steps"]) // 3 :]
    times = [step["seconds"] - step["text_seconds"] for step in steps]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    cpu = statistics.median(step["cpu_seconds"] - step["text_cpu_seconds"] for step in steps)
    text = statistics.median(step["text_seconds"] for step in steps)
    return Measured(middle, low, high, cpu, text, record["peak_rss"], record["peak_vram"])


def _tokenizer(folder: Path) -> Path:
    """A tokenizer folder as sd-scripts' `--tokenizer_cache_dir` wants it, from our bundled vocabulary."""
    from engine.models import tokens

    target = folder / "tokenizers" / _TOKENIZER
    target.mkdir(parents=True, exist_ok=True)
    tokens.write_folder(target, "<|endoftext|>")
    return target.parent


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
