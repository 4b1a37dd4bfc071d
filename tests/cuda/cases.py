"""The engine's commands as they are run on a card, pretended or real: one table, and what must come of each."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

STEPS = 4
SD = ("--pretrained_model_name_or_path", "models/micro/micro-sd.safetensors")
SDXL = ("--pretrained_model_name_or_path", "models/micro/micro-sdxl.safetensors")
UNET = ("--network_train_unet_only",)
CHECKPOINTED = ("--gradient_checkpointing",)
SAMPLED = ("--sample_prompts", "{folder}/prompts.txt")
PROMPT = "momo --w 64 --h 64 --s 2 --d 1"
DROPOUTS = (
    "--network_dropout", "0.1", "--network_args", "rank_dropout=0.1", "module_dropout=0.1", "conv_dim=4", "--scale_weight_norms", "1",
)  # fmt: skip

# What the host may wait for, by the place of ours that asks: (its path's beginning, its function, what it is). Nothing of it is in a step.
KINDS = (
    ("training/metrics.py", "read", "figures"),  # one copy an interval
    ("adapters/method.py", "tensors", "file"),
    ("data/cache.py", "", "cache"),
    ("trials.py", "", "trials"),  # of the card, of fp16
    ("training/previews.py", "", "pictures"),
    ("generation/", "", "pictures"),
    ("training/optim.py", "step", "optimizer"),
    ("models/networks.py", "", "loading"),
)
# Where what is not pinned is copied to the card: before the first step, and for sample pictures.
LOADING = (
    "trials.py", "models/weights.py", "adapters/", "training/encoding.py", "diffusion/schedule.py", "generation/", "training/previews.py",
)  # fmt: skip
LATENTS = 24  # reads for the demo's twelve pictures: mean and deviation of each
PROOF_TENSORS = 408  # of the LoRA that the proof trains: U-Net and text encoder
A_PICTURE = 5  # reads for a sample picture by euler_a: its noise levels and latents, its pixels


@dataclass(frozen=True)
class Case:
    """One command on one card. `{folder}` in its arguments is where it may write."""

    name: str
    arguments: tuple[str, ...]
    precision: str = "bf16"  # that it must say it uses
    capability: tuple[int, int] = (8, 6)
    steps: int = STEPS
    every: int = 2  # steps from one line of figures to the next
    saves: int = 1
    cached: int = LATENTS  # reads while pictures and captions are encoded
    pictures: int = 0  # reads while sample pictures are made
    optimizer: int = 0  # reads in each optimizer step
    loading: int = 0  # reads while networks are built
    in_ci: bool = False

    @property
    def command(self) -> str:
        """The engine's command."""
        return self.arguments[0]


def train(name: str, *arguments: str, **more: object) -> Case:
    """A training."""
    return Case(name, ("train", *arguments), **more)  # type: ignore[arg-type]


CASES = (
    train("sd-bf16", *SD, every=1, in_ci=True),
    train("sd-fp16", *SD, precision="fp16", capability=(6, 1), every=1, in_ci=True),
    train("sd-fp32", *SD, "--mixed_precision", "no", precision="no", every=1, in_ci=True),
    train("sd-fp16-on-turing", *SD, *SAMPLED, precision="fp16", capability=(7, 5), pictures=2 * A_PICTURE),
    train("sd-bf16-asked-of-pascal", *SD, *UNET, "--mixed_precision", "bf16", precision="fp16", capability=(6, 1), cached=LATENTS + 1),
    train("sd-pictures", *SD, *SAMPLED, *UNET, "--sample_every_n_steps", "2", "--save_every_n_steps", "2",
          saves=2, cached=LATENTS + 1, pictures=3 * A_PICTURE + 1),
    train("sd-dropouts", *SD, *CHECKPOINTED, *DROPOUTS, "--gradient_accumulation_steps", "2", "--min_snr_gamma", "5",
          steps=1, every=1, in_ci=True),
    train("sd-checkpointed", *SD, *SAMPLED, *CHECKPOINTED, "--max_token_length", "225", pictures=2 * A_PICTURE),
    train("sd-loha", *SD, *UNET, "--network_module", "networks.loha", cached=LATENTS + 1),
    train("sdxl-bf16", *SDXL, *SAMPLED, *UNET, *CHECKPOINTED, steps=2, cached=LATENTS + 2,
          pictures=2 * A_PICTURE + 2, loading=1, in_ci=True),
    train("sdxl-fp16", *SDXL, *SAMPLED, precision="fp16", capability=(7, 5), pictures=2 * A_PICTURE, loading=1),
    train("sdxl-fp32", *SDXL, *UNET, "--mixed_precision", "no", "--cache_text_encoder_outputs", "false", precision="no", loading=1),
    Case("cache", ("cache", *SD, *UNET), cached=LATENTS + 1, saves=0),
    Case("sample", ("sample", *SD), saves=0, cached=0, pictures=80, in_ci=True),
    Case("proof", ("doctor", "--run"), every=1),
)  # fmt: skip


def arguments(case: Case, folder: Path, *, with_format: bool = False) -> list[str]:
    """The command line of a case. `with_format`: the number format is named, because this card would choose another by itself."""
    words = [word.replace("{folder}", str(folder)) for word in case.arguments]
    if case.command == "doctor":
        return words
    words += ["--cache_dir", f"{folder}/cache"]
    if with_format:
        words += ["--mixed_precision", case.precision]
    if case.command == "sample":
        return [*words, "--out", f"{folder}/pictures", *(word for prompt in prompts() for word in ("--prompt", prompt))]
    (folder / "prompts.txt").write_text(f"{PROMPT}\n", encoding="utf-8")
    words += ["--train_data_dir", "train_data/demo", "--resolution", "64", "--min_bucket_reso", "64", "--train_batch_size", "2"]
    words += ["--network_dim", "4", "--network_alpha", "2", "--max_train_steps", str(case.steps), "--log_every_n_steps", str(case.every)]
    return [*words, "--learning_rate", "1e-3", "--logging_dir", "", "--output_dir", f"{folder}/output", "--output_name", "case"]


def prompts() -> list[str]:
    """A picture by every sampler; without LMS where SciPy is missing, which that one needs."""
    from engine.diffusion.samplers import SAMPLERS

    known = [row.name for row in SAMPLERS if row.name != "lms" or importlib.util.find_spec("scipy")]
    return [f"{PROMPT} --ss {name}" for name in known]


def check(case: Case, folder: Path, answer: Mapping[str, object]) -> None:
    """Hold an answer (status, output, error; reads by `operation at place`) against the table."""
    output = str(answer["output"])
    assert not answer["error"], answer["error"]
    assert answer["status"] == 0, output
    if case.command == "train":
        _check_training(case, folder, output)
    reads: Mapping[str, int] = answer["reads"]  # type: ignore[assignment]
    found, wanted = kinds(reads), expected(case, folder)
    if case.command == "sample" and not importlib.util.find_spec("scipy"):
        wanted["pictures"] = min(wanted["pictures"], found["pictures"])  # a sampler less
    assert found == wanted, f"{case.name}: the host waited for\n{list(reads.items())}"


def _check_training(case: Case, folder: Path, output: str) -> None:
    from engine.device import PRECISION_NAMES
    from engine.errors import plural

    assert re.search(rf"^Training `case` on .+, {PRECISION_NAMES[case.precision]}$", output, re.MULTILINE), output
    assert f"Done: {plural(case.steps, 'step')}" in output
    assert len(losses(output)) == case.steps // case.every
    files = sorted((folder / "output").rglob("*.safetensors"))
    assert len(files) == case.saves


def losses(output: str) -> list[float]:
    """The losses that a run showed, each the mean since its beginning."""
    return [float(loss) for loss in re.findall(r"^step \d+/\d+ .*?  loss ([\d.]+)", output, re.MULTILINE)]


def kinds(reads: Mapping[str, int]) -> Counter[str]:
    """Reads by what they are for; by their place where nobody expects any."""
    found: Counter[str] = Counter()
    for read, count in reads.items():
        place, _, function = read.partition(" at ")[2].partition(" ")
        known = (kind for start, name, kind in KINDS if place.startswith(start) and function.startswith(name))
        found[next(known, read)] += count
    return found


def expected(case: Case, folder: Path) -> Counter[str]:
    """Reads by kind."""
    trains = case.command in ("train", "doctor")
    file = sum(tensors(path) for path in (folder / "output").rglob("*.safetensors")) if case.command == "train" else 0
    return +Counter(
        {
            "figures": case.steps // case.every if trains else 0,
            "file": PROOF_TENSORS if case.command == "doctor" else file,
            "cache": case.cached,
            "trials": 5 if case.precision == "fp16" else 1,
            "loading": case.loading,
            "pictures": case.pictures,
            "optimizer": case.optimizer * case.steps if trains else 0,
        }
    )


def tensors(file: Path) -> int:
    """The trained tensors of a LoRA file: all but the alphas."""
    from engine import headers

    return sum(not name.endswith(".alpha") for name in headers.read(file).tensors)


def check_alike(outputs: list[str]) -> None:
    """Hold the losses of the same training in several formats within 2 % of each other, step by step."""
    steps = [_steps(losses(output)) for output in outputs]
    for each in zip(*steps, strict=True):
        assert max(each) <= 1.02 * min(each), f"losses of {len(outputs)} formats, a list each: {steps}"


def _steps(means: list[float]) -> list[float]:
    """The loss of each step, from the means since the beginning."""
    totals = [mean * number for number, mean in enumerate(means, start=1)]
    return [after - before for before, after in pairwise([0.0, *totals])]
