"""The contract of every row of `OPTIMIZERS`: it builds with each option, lowers a loss, and goes on from its saved state bit for bit."""

from __future__ import annotations

import dataclasses
import doctest
import io
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from engine.adapters.base import ParamGroup
from engine.optimization import schedules
from engine.optimization.optimizers import OPTIMIZERS, OptimizerRow
from engine.training.optim import chooses_own_rate, make_optimizer

ROWS = [pytest.param(row, id=row.name, marks=[pytest.mark.gpu] if row.gpu_only else []) for row in OPTIMIZERS]

# A rate at which three steps lower the loss below; and of each option the default, and another value.
RATES = {"AdamW": 0.01, "AdamW8bit": 0.01, "Lion": 0.003, "Adafactor": 0.01, "Prodigy": 1.0}
ADAMW = {"betas": ((0.9, 0.999), (0.8, 0.95)), "eps": (1e-8, 1e-6), "weight_decay": (0.01, 0.25)}
VALUES: dict[str, dict[str, tuple[object, object]]] = {
    "AdamW": ADAMW,
    "AdamW8bit": ADAMW,
    "Lion": {"betas": ((0.9, 0.99), (0.8, 0.95)), "weight_decay": (0.0, 0.25)},
    "Adafactor": {
        "relative_step": (True, False),
        "scale_parameter": (True, False),
        "warmup_init": (False, True),
        "clip_threshold": (1.0, 0.5),
        "decay_rate": (-0.8, -0.5),
        "beta1": (None, 0.75),
        "eps": ((1e-30, 1e-3), (1e-20, 1e-2)),
        "weight_decay": (0.0, 0.25),
    },
    "Prodigy": {
        "betas": ((0.9, 0.999), (0.8, 0.95)),
        "beta3": (None, 0.75),
        "eps": (1e-8, 1e-6),
        "weight_decay": (0.0, 0.25),
        "decouple": (True, False),
        "use_bias_correction": (False, True),
        "safeguard_warmup": (False, True),
        "d0": (1e-6, 1e-4),
        "d_coef": (1.0, 0.5),
        "growth_rate": (math.inf, 1.5),
    },
}

OPTIONS = [
    pytest.param(row, name, other, id=f"{row.name} {name}", marks=[pytest.mark.gpu] if row.gpu_only else [])
    for row in OPTIMIZERS
    for name, (_, other) in VALUES[row.name].items()
]


class Problem:
    """Two groups that learn a fixed target; the larger has the size from which 8-bit states are used."""

    def __init__(self, row: OptimizerRow, args: Mapping[str, object] | None = None) -> None:
        device = "cuda" if row.gpu_only else "cpu"
        chance = torch.Generator().manual_seed(7)
        self.params = [torch.randn(shape, generator=chance).to(device).requires_grad_() for shape in ((64, 64), (8,))]
        self.targets = [torch.randn(param.shape, generator=chance).to(device) for param in self.params]
        rates = (RATES[row.name], RATES[row.name] / 2) if row.recommended_rate is None else (RATES[row.name],) * 2
        self.groups = [ParamGroup(name, (param,), rate) for name, param, rate in zip(("large", "small"), self.params, rates, strict=True)]
        self.optimizer = make_optimizer(row, self.groups, args or {})

    def loss(self) -> Tensor:
        """In double precision, so that the smallest step shows."""
        errors = [param.double() - target for param, target in zip(self.params, self.targets, strict=True)]
        return torch.stack([error.square().mean() for error in errors]).sum()

    def step(self) -> float:
        """One update; the loss before it."""
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def test_doctests() -> None:
    assert doctest.testmod(schedules).failed == 0


@pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda row: row.name)
def test_the_options_of_a_row_and_their_defaults(row: OptimizerRow) -> None:
    assert {field.name: field.default for field in dataclasses.fields(row.options)} == {
        name: default for name, (default, _) in VALUES[row.name].items()
    }


@pytest.mark.parametrize("row", ROWS)
def test_it_builds_with_its_rows_defaults(row: OptimizerRow) -> None:
    problem = Problem(row)
    for group, made in zip(problem.groups, problem.optimizer.param_groups, strict=True):
        assert made["params"] == list(group.params) and made["name"] == group.name
        assert made["lr"] == (None if chooses_own_rate(row, {}) else group.rate)
        for field in dataclasses.fields(row.options):
            assert made[field.name] == field.default, field.name


@pytest.mark.parametrize(("row", "name", "value"), OPTIONS)
def test_each_option_reaches_it_and_it_steps(row: OptimizerRow, name: str, value: object) -> None:
    args = {name: value}
    problem = Problem(row, args)
    for group, made in zip(problem.groups, problem.optimizer.param_groups, strict=True):
        assert made[name] == value
        assert made["lr"] == (None if chooses_own_rate(row, args) else group.rate)
    before = [param.detach().clone() for param in problem.params]
    problem.step()
    problem.step()
    assert all(param.isfinite().all() and not torch.equal(param, was) for param, was in zip(problem.params, before, strict=True))


@pytest.mark.parametrize("row", ROWS)
def test_three_steps_lower_the_loss(row: OptimizerRow) -> None:
    problem = Problem(row)
    losses = [problem.step() for _ in range(3)]
    losses.append(problem.loss().item())
    assert losses[0] > losses[1] > losses[2] > losses[3]


@pytest.mark.parametrize("row", ROWS)
def test_it_goes_on_from_its_saved_state_bit_for_bit(row: OptimizerRow) -> None:
    """Through the bytes of a file, into a fresh optimizer over copies of the weights."""
    first = Problem(row)
    for _ in range(3):
        first.step()
    file = io.BytesIO()
    torch.save({"optimizer": first.optimizer.state_dict(), "weights": [param.detach() for param in first.params]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second, forgetful = Problem(row), Problem(row)
    for problem in (second, forgetful):
        with torch.no_grad():
            for param, value in zip(problem.params, saved["weights"], strict=True):
                param.copy_(value)
    second.optimizer.load_state_dict(saved["optimizer"])
    for problem in (first, second, forgetful):
        problem.step()
        problem.step()
    assert all(torch.equal(one, other) for one, other in zip(first.params, second.params, strict=True))
    assert not torch.equal(first.params[0], forgetful.params[0])  # the state was needed


def test_adamw_is_one_kernel() -> None:
    """Which reads no step counter on the host."""
    adamw = next(row for row in OPTIMIZERS if row.name == "AdamW")
    assert Problem(adamw).optimizer.param_groups[0]["fused"] is True
