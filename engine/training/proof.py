"""The proof that training works here: a few real steps.

Every package is imported first, and what is optional is tried by use. The steps use the built-in base model and the demo's pictures.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from engine import files, optional, registries, tensorfile
from engine.config import flags
from engine.config.load import load
from engine.config.schema import Config
from engine.config.sources import ConfigFile
from engine.console import Reporter
from engine.device import PRECISION_NAMES, Compute, choose
from engine.errors import UserError, fault
from engine.optimization.optimizers import find_optimizer
from engine.training.attention import attend
from engine.training.optim import take_step
from engine.training.train import train

STEPS = 4
USUAL = "AdamW"  # the optimizer that is trained with first
BASE, PICTURES = "models/micro/micro-sd.safetensors", "train_data/demo"
PACKAGES = ("numpy", "PIL", "safetensors", "tokenizers", "rich", "tensorboard", "accelerate", "diffusers", "transformers", "torch")


@dataclass(frozen=True)
class Proof:
    """What was shown."""

    device: str
    precision: str
    losses: tuple[float, ...]
    seconds: float
    peak: int  # bytes of the card's memory at most; 0 on the CPU

    def __str__(self) -> str:
        memory = f", {self.peak / 2**20:.0f} MiB of its memory" if self.peak else ""
        shown = f"{STEPS} steps in {self.seconds:.1f} s, loss {self.losses[0]:.3f} to {self.losses[-1]:.3f}"
        return f"a real training step ran on {self.device} ({PRECISION_NAMES[self.precision]}, {shown}{memory})"


def run(root: Path, say: Callable[[str], None]) -> Proof:
    """The whole proof; `say` gets a line for each thing that was tried. Raises what `prove` raises."""
    imports(say)
    compute, _ = choose(None, None)
    faults = try_optional(compute, say)
    with temporary(root) as folder:

        def train_with(optimizer: str) -> Proof:
            return prove(load(flags.split(settings(root, folder, optimizer)).sources, registries.rows()).config, say)

        done = train_with(USUAL)
        prove_optimizers(of_presets(root, say), compute, faults, train_with, say)
    return done


@contextlib.contextmanager
def temporary(root: Path) -> Iterator[Path]:
    """A folder inside the product's own that is gone afterwards."""
    parent = root / "cache"
    with files.explained(parent):
        parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="proof-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def settings(root: Path, folder: Path, optimizer: str = USUAL) -> list[str]:
    """The proof's run as a command line. Raises UserError where the base model or the pictures are missing."""
    for name in (BASE, PICTURES):
        if not (root / name).exists():
            raise UserError("the proof needs this, and it is missing", "unpack or clone the folder again", where=name)
    paths = ["--pretrained_model_name_or_path", root / BASE, "--train_data_dir", root / PICTURES, "--output_dir", folder / "output"]
    size = ["--resolution", "64", "--min_bucket_reso", "64", "--train_batch_size", "2", "--network_dim", "4", "--network_alpha", "4"]
    length = ["--max_train_steps", STEPS, "--log_every_n_steps", "1", "--learning_rate", "1e-3", "--output_name", "proof"]
    rest = ["--cache_dir", folder / "cache", "--logging_dir", "", "--optimizer_type", optimizer]
    return [str(word) for word in (*paths, *size, *length, *rest)]


def imports(say: Callable[[str], None]) -> None:
    """Import every package, and say its version. Raises UserError for one that cannot be imported."""
    for name in PACKAGES:
        why = fault(lambda name=name: importlib.import_module(name))  # type: ignore[misc]
        if why:
            hint = "run the set-up again; an antivirus may have removed a file"
            raise UserError(f"this package cannot be imported: {why}", hint, where=name)
        say(f"{name} {_version(name)}".rstrip())


def try_optional(compute: Compute, say: Callable[[str], None]) -> dict[str, str]:
    """Use every optional package that is here as a run would, and say whether it works; module -> why not, also where it is not here."""
    uses: dict[str, Callable[[], object]] = {
        "bitsandbytes": lambda: take_step(find_optimizer("AdamW8bit"), compute.device),
        "xformers": lambda: attend(compute.device, compute.dtype),
        "triton": lambda: importlib.import_module("triton"),  # nothing of ours uses it yet
    }
    faults = {}
    for module in optional.MODULES.values():
        if not optional.is_here(module):
            faults[module] = "it is not installed"
        elif compute.device.type != "cuda":
            faults[module] = "it needs an NVIDIA card"
        else:
            faults[module] = optional.tried(module, uses[module])
            if faults[module]:
                say(f"{module}, which is optional, does not work here, which is no harm: {faults[module]}")
            else:
                say(f"{module} {_version(module)}, which is optional, works")
    return {module: why for module, why in faults.items() if why}


def prove_optimizers(
    names: Iterable[str], compute: Compute, faults: Mapping[str, str], train_with: Callable[[str], object], say: Callable[[str], None]
) -> None:
    """Train with each of these optimizers too, by `train_with`, and say so; one whose optional package does not work is only named."""
    for name in names:
        row = find_optimizer(name)
        why = "it needs an NVIDIA card" if row.gpu_only and compute.device.type != "cuda" else faults.get(row.package, "")
        if not why:
            train_with(row.name)
        say(f"{row.name}, which presets use, {f'cannot be used here: {why}' if why else 'trains'}")


def of_presets(root: Path, say: Callable[[str], None]) -> list[str]:
    """The optimizers that the files in configs/ name beside the usual one; a file that cannot be read is told."""
    found = dict.fromkeys(_optimizer_of(path, say) for path in sorted((root / "configs").glob("*.toml")))
    return [name for name in found if name != USUAL]


def _optimizer_of(path: Path, say: Callable[[str], None]) -> str:
    try:
        return load((ConfigFile(str(path), "--config"),), registries.rows()).config.optimizer.optimizer_type
    except UserError as error:
        say(f"configs/{path.name} cannot be used: {error}")
        return USUAL


def _version(name: str) -> str:
    """The version of a package that is imported, as it says it; nothing where it says none."""
    return str(getattr(sys.modules[name], "__version__", ""))


def prove(config: Config, say: Callable[[str], None]) -> Proof:
    """Train for real, and look at what came out; `say` gets what the run said where it fails.

    Raises UserError where the outcome is not what training gives, RuntimeError where torch cannot compute.
    """
    compute, _ = choose(config.training.device, config.training.mixed_precision)
    on_card = compute.device.type == "cuda"
    told = io.StringIO()
    begun = time.monotonic()
    try:
        result = train(config, (), Reporter(Console(file=told, width=120, soft_wrap=True), plain=True))
    except (UserError, RuntimeError, OSError):
        say(told.getvalue().rstrip())
        raise
    seconds = time.monotonic() - begun
    losses = tuple(result.losses.values())
    broken = "report it with this text"
    if len(losses) != STEPS or not all(math.isfinite(loss) for loss in losses):
        raise UserError(f"{STEPS} steps gave the losses {losses}", broken, where="proof")
    tensors = tensorfile.read(result.file)
    ups = [tensor for name, tensor in tensors.items() if name.endswith("lora_up.weight")]
    if not ups or not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()) or not any(bool(up.any()) for up in ups):
        raise UserError("the trained file holds nothing that was learned", broken, where="proof")
    peak = torch.cuda.max_memory_reserved(compute.device) if on_card else 0
    return Proof(compute.name, compute.precision, losses, seconds, peak)
