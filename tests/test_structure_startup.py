"""What must answer at once imports no tensor library: it is looked up in the list of imported modules, not with a clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("torch", "diffusers", "transformers", "accelerate", "numpy", "tensorboard")
HELP_MODULES = 220  # a bare Python has about 60; each further one costs a fraction of a millisecond

# Rooms and modules that describe or plan a run. The level-1 registries are read by --help and by `config`.
PURE = (
    "engine.doctor",
    "engine.config.load",
    "engine.config.schema",
    "engine.data.folder",
    "engine.data.items",
    "engine.data.captions",
    "engine.data.buckets",
    "engine.data.index",
    "engine.models",
    "engine.models.tokens",
    "engine.adapters",
    "engine.diffusion.samplers",
    "engine.generation.emphasis",
    "engine.generation.prompt",
    "engine.optimization.optimizers",
    "engine.tools.check",
    "engine.tools.inspect",
    "engine.taggers.models",
    "engine.tools.tag.options",
    "engine.vram.exact",
)
COUNTED = """
from engine import adapters
from engine.config.schema import Config, ModelConfig, NetworkConfig, OptimizerConfig
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.vram.exact import exact, model_of

for family in FAMILIES:
    for method in adapters.METHODS:
        for optimizer in OPTIMIZERS:
            network, optimizer_config = NetworkConfig(network_module=method.name), OptimizerConfig(optimizer_type=optimizer.name)
            config = Config(ModelConfig(family=family.name), network=network, optimizer=optimizer_config)
            found = exact(config, model_of(config), "fp16")
            assert found.parameters.bytes and found.optimizer.bytes
"""


def imported_by(root: Path, *arguments: str) -> list[str]:
    """The modules that `python ARGUMENTS` imports, in order."""
    command = [sys.executable, "-s", "-X", "utf8", "-X", "importtime", *arguments]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("import time:")]
    assert answer.returncode == 0, "\n".join(line for line in answer.stderr.splitlines() if line not in lines)
    return [line.rpartition("|")[2].strip() for line in lines[1:]]


def slow_ones(modules: list[str]) -> list[str]:
    return [name for name in modules if name in SLOW]


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ()])
def test_help_is_quick(root: Path, arguments: tuple[str, ...]) -> None:
    modules = imported_by(root, "-m", "engine", *arguments)
    assert not slow_ones(modules) and len(modules) < HELP_MODULES, (len(modules), slow_ones(modules))


@pytest.mark.parametrize("command", ["inspect", "config", "check"])
def test_commands_that_compute_nothing_need_no_tensors(root: Path, tmp_path: Path, micro_sd: Path, command: str) -> None:
    model = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(root / "train_data/demo")]
    places = ["--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "output")]
    words = [str(micro_sd)] if command == "inspect" else [*model, *places]
    heavy = [name for name in slow_ones(imported_by(root, "-m", "engine", command, *words)) if name != "numpy"]
    assert not heavy, f"{command} imports {heavy}"


@pytest.mark.parametrize("module", PURE)
def test_what_plans_a_run_needs_no_tensors(root: Path, module: str) -> None:
    heavy = slow_ones(imported_by(root, "-c", f"import {module}"))
    assert not heavy, f"{module} imports {heavy}"


def test_what_a_run_trains_is_counted_without_tensors(root: Path) -> None:
    """For every family, method and optimizer."""
    heavy = slow_ones(imported_by(root, "-c", COUNTED))
    assert not heavy, f"counting imports {heavy}"
