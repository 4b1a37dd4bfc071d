"""The cases of tests/cuda on the card that is here. `python -m tests.cuda.pretend pytest -m gpu tests/gpu` runs them on a pretended one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.counts import Count
from engine.optimization.optimizers import OPTIMIZERS
from tests.cuda import cases, optimizer_reads, pretend, test_cuda_optimizers
from tests.cuda.cases import CASES, Case
from tests.cuda.test_cuda_cases import FORMATS

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def card() -> None:
    """There is one."""
    assert torch.cuda.is_available(), "-m gpu needs an NVIDIA card; without one: python -m tests.cuda.pretend pytest -m gpu tests/gpu"


def run(case: Case, folder: Path) -> dict:
    """The case's answer, and what the host waited for."""
    named = "--mixed_precision" not in case.arguments
    with Count() as count:
        answer = pretend.run(cases.arguments(case, folder, with_format=named))
    return {**answer, "reads": {f"{name} at {place}": number for (name, place), number in count.places.items()}}


@pytest.mark.parametrize("case", [case for case in CASES if case.command != "doctor"], ids=lambda case: case.name)
def test_a_command_runs_on_the_card(case: Case, tmp_path: Path) -> None:
    if case.name == "sd-bf16-asked-of-pascal" and torch.cuda.get_device_capability()[0] >= 8:
        pytest.skip("this card has bf16")
    cases.check(case, tmp_path, run(case, tmp_path))


def test_the_three_formats_train_alike(tmp_path: Path) -> None:
    cases.check_alike([run(case, tmp_path / case.name)["output"] for case in CASES if case.name in FORMATS])


@pytest.fixture(scope="module")
def steps() -> dict:
    """A step of every optimizer."""
    return optimizer_reads.measure()


@pytest.mark.parametrize("name", [row.name for row in OPTIMIZERS])
def test_an_optimizer_step_waits_as_often_as_its_entry_says(steps: dict, name: str) -> None:
    test_cuda_optimizers.check(name, steps[name])
