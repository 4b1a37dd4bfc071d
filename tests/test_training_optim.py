"""Rates as functions of the step, and what an update does with them, with the gradient's length and with a loss scaler."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from engine.adapters.base import ParamGroup
from engine.errors import UserError
from engine.optimization.optimizers import OPTIMIZERS, OptimizerRow, find_optimizer
from engine.optimization.schedules import SCHEDULES, ScheduleRow, find_schedule
from engine.training.optim import (
    Optimization,
    RateRule,
    Skips,
    chooses_own_rate,
    notices,
    require_available,
)

CPU, CARD = torch.device("cpu"), torch.device("cuda")
STEPS = (0, 1, 3, 4, 5, 9, 10)

# The factors at STEPS of a run of 10 steps, after a warm-up of 4 and without one. By hand: share = (step - 4) / 6 and step / 10.
FACTORS: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "constant": ((1, 1, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1)),
    "constant_with_warmup": ((0, 1 / 4, 3 / 4, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1)),
    "linear": ((0, 1 / 4, 3 / 4, 1, 5 / 6, 1 / 6, 0), (1, 0.9, 0.7, 0.6, 0.5, 0.1, 0)),
    "cosine": (
        (0, 1 / 4, 3 / 4, 1, 0.93301270, 0.06698730, 0),
        (1, 0.97552826, 0.79389263, 0.65450850, 0.5, 0.02447174, 0),
    ),
    "cosine_with_restarts": (  # 2 cycles: from 1 to 0 within steps 4 to 7, or 0 to 5, and again
        (0, 1 / 4, 3 / 4, 1, 0.75, 0.25, 0),
        (1, 0.90450850, 0.34549150, 0.09549150, 1, 0.09549150, 0),
    ),
    "polynomial": ((0, 1 / 4, 3 / 4, 1, 25 / 36, 1 / 36, 0), (1, 0.81, 0.49, 0.36, 0.25, 0.01, 0)),  # to the power 2
}


def rule(name: str, warmup: int, total: int = 10, cycles: int = 2, power: float = 2.0) -> RateRule:
    return RateRule(find_schedule(name), total, warmup, cycles, power)


@pytest.mark.parametrize("row", SCHEDULES, ids=lambda row: row.name)
def test_the_factor_of_every_schedule_step_by_step(row: ScheduleRow) -> None:
    with_warmup, without = FACTORS[row.name]
    assert [rule(row.name, 4 if row.name != "constant" else 0).at(step) for step in STEPS] == pytest.approx(with_warmup, abs=1e-7)
    assert [rule(row.name, 0).at(step) for step in STEPS] == pytest.approx(without, abs=1e-7)


def test_a_warm_up_as_long_as_the_run_or_longer_is_a_line() -> None:
    for row in SCHEDULES[1:]:
        assert [rule(row.name, 10).at(step) for step in (0, 5, 9)] == [0.0, 0.5, 0.9], row.name
        assert [rule(row.name, 20).at(step) for step in (0, 5, 9)] == [0.0, 0.25, 0.45], row.name


@pytest.mark.parametrize(("name", "warmup"), [("constant", 0), *((row.name, warmup) for row in SCHEDULES[1:] for warmup in (0, 1, 7))])
def test_the_factors_are_those_of_diffusers(name: str, warmup: int) -> None:
    """Its schedulers are those of sd-scripts. Its polynomial ends at 1e-7 instead of 0."""
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=23, num_cycles=3, power=1.5)
    ours = rule(name, warmup, total=23, cycles=3, power=1.5)
    for step in range(23):
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=2e-7), step
        optimizer.step()
        theirs.step()


def weights(*gradients: float) -> list[torch.Tensor]:
    """One weight of 0 for each gradient."""
    made = []
    for gradient in gradients:
        made.append(torch.zeros(1, requires_grad=True))
        made[-1].grad = torch.tensor([gradient])
    return made


Scaler = torch.amp.GradScaler


def plain(
    params: list[torch.Tensor], rates: Sequence[float], *, clip: float = 0.0, scaler: Scaler | None = None, follows: bool = True
) -> Optimization:
    """Gradient descent, one group a parameter, linear over 10 steps after a warm-up of 4."""
    groups = [ParamGroup(f"group {number}", [param], rate) for number, (param, rate) in enumerate(zip(params, rates, strict=True))]
    optimizer = torch.optim.SGD([{"params": group.params, "lr": 77.0} for group in groups])
    return Optimization(optimizer, groups, rule("linear", 4), max_grad_norm=clip, scaler=scaler, follows_rule=follows)


def rates_of(optimization: Optimization) -> list[float]:
    return [group["lr"] for group in optimization.optimizer.param_groups]


@pytest.mark.parametrize(("step", "factor"), list(zip(STEPS, FACTORS["linear"][0], strict=True)))
def test_a_step_has_its_own_rates(step: int, factor: float) -> None:
    """Each group's peak times the factor, whatever the rates were before."""
    params = weights(1.0, 1.0)
    optimization = plain(params, (2.0, 0.5))
    optimization.step(step)
    assert optimization.rates(step) == rates_of(optimization) == pytest.approx([2.0 * factor, 0.5 * factor])
    assert [param.item() for param in params] == pytest.approx([-2.0 * factor, -0.5 * factor])
    assert optimization.names == ["group 0", "group 1"]


def test_an_optimizer_that_sets_its_own_rate_keeps_it() -> None:
    optimization = plain(weights(1.0, 1.0), (2.0, 0.5), follows=False)
    optimization.step(1)
    assert rates_of(optimization) == [77.0, 77.0] and not optimization.follows_rule


@pytest.mark.parametrize(
    ("limit", "moved"),
    [(0.0, (3.0, 4.0)), (1.0, (0.6, 0.8)), (2.5, (1.5, 2.0)), (5.0, (3.0, 4.0)), (100.0, (3.0, 4.0))],
)
def test_a_gradient_is_shortened_to_the_limit(limit: float, moved: tuple[float, float]) -> None:
    """The length is that of all groups together, 5 here; the one before shortening is returned; 0 switches shortening off."""
    params = weights(3.0, 4.0)
    norm = plain(params, (1.0, 1.0), clip=limit).step(4)
    assert norm.item() == pytest.approx(5.0)
    assert [-param.item() for param in params] == pytest.approx(moved, rel=1e-5)
    assert all(param.grad is None for param in params)


def test_gradients_gather_until_a_step() -> None:
    param = torch.zeros(1, requires_grad=True)
    optimization = plain([param], [1.0])
    optimization.backward(2.0 * param.sum())
    optimization.backward(0.5 * param.sum())
    assert optimization.step(4).item() == 2.5
    assert param.item() == -2.5


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_scaler_changes_no_finite_step(clip: float) -> None:
    """The gradient is shortened after it was scaled back."""
    ends = []
    for scaler in (None, Scaler("cpu", init_scale=1024.0)):
        param = torch.zeros(1, requires_grad=True)
        optimization = plain([param], [1.0], clip=clip, scaler=scaler)
        optimization.backward(4.0 * param.sum())
        ends.append((optimization.step(4).item(), param.item(), optimization.skips is None))
    assert ends == [(4.0, pytest.approx(-(clip or 4.0), rel=1e-5), True), (4.0, pytest.approx(-(clip or 4.0), rel=1e-5), False)]


def test_a_step_that_overflows_is_left_out_and_counted() -> None:
    param = torch.zeros(1, requires_grad=True)
    scaler = Scaler("cpu", init_scale=1024.0)
    optimization = plain([param], [1.0], clip=1.0, scaler=scaler)
    for step in range(Skips.LIMIT):
        optimization.backward(float("inf") * param.sum())
        assert not torch.isfinite(optimization.step(step))
        assert optimization.skips is not None
        assert optimization.skips.stuck() is (step == Skips.LIMIT - 1)
    assert param.item() == 0.0 and scaler.get_scale() == 1024.0 * 0.5**Skips.LIMIT


def test_skips_tell_at_once_when_the_limit_is_reached() -> None:
    """For broken and sound steps drawn by chance: where the last 20 were broken, for the first time."""
    rng = random.Random(3)
    told = 0
    for _ in range(40):
        skips, steps = Skips(), []
        for _ in range(9):
            steps += [True] * rng.randint(0, 22) + [False] * rng.randint(1, 3)
        for number, broken in enumerate(steps, start=1):
            skips.add(torch.tensor(float("nan") if broken else 1.0))
            expected = number >= 20 and all(steps[number - 20 : number])
            assert skips.stuck() is expected
            if expected:
                told += 1
                break
    assert 5 < told < 40


def test_skips_are_read_once_in_twenty_sound_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = torch.Tensor.__int__
    monkeypatch.setattr(torch.Tensor, "__int__", lambda self: reads.append(step) or read(self))
    skips = Skips()
    for step in range(1, 101):
        skips.add(torch.tensor(float(step)))
        skips.stuck()
    assert reads == [20, 40, 60, 80, 100]


@pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda row: row.name)
def test_an_optimizer_is_found_by_any_capitalisation(row: OptimizerRow) -> None:
    assert find_optimizer(row.name) is find_optimizer(row.name.upper()) is find_optimizer(row.name.lower()) is row


def test_unknown_names_get_the_nearest_or_the_list() -> None:
    for find, name, where, hint in (
        (find_optimizer, "AdmW", "optimizer_type", "Did you mean `AdamW`?"),
        (find_optimizer, "zzz", "optimizer_type", "choose one of AdamW, AdamW8bit, Lion, Adafactor, Prodigy"),
        (find_schedule, "cosin", "lr_scheduler", "Did you mean `cosine`?"),
        (find_schedule, "zzz", "lr_scheduler", f"choose one of {', '.join(row.name for row in SCHEDULES)}"),
    ):
        with pytest.raises(UserError, match=f"there is no (optimizer|schedule) `{name}`") as caught:
            find(name)
        assert (caught.value.where, caught.value.hint) == (where, hint)


def test_what_an_optimizer_needs_is_asked_before_the_start() -> None:
    for row in OPTIMIZERS:
        if not row.gpu_only:
            require_available(row, CPU)
    with pytest.raises(UserError, match="AdamW8bit needs an NVIDIA card; this run is on the CPU") as caught:
        require_available(find_optimizer("AdamW8bit"), CPU)
    assert caught.value.where == "optimizer_type"
    missing = OptimizerRow("Own", "no_such_module:Own", "", object, lambda trained, args: (), "no-such-package", gpu_only=True)
    with pytest.raises(UserError, match="Own needs the package `no-such-package`, which cannot be imported"):
        require_available(missing, CARD)


@pytest.mark.parametrize(
    ("name", "args", "own"),
    [
        ("AdamW", {}, False),
        ("Lion", {}, False),
        ("Prodigy", {}, False),
        ("Adafactor", {}, True),
        ("Adafactor", {"relative_step": True}, True),
        ("Adafactor", {"relative_step": False}, False),
        ("Adafactor", {"scale_parameter": False}, True),
    ],
)
def test_who_chooses_the_rate(name: str, args: dict[str, object], own: bool) -> None:
    assert chooses_own_rate(find_optimizer(name), args) is own


ESTIMATES = "Prodigy estimates the rate itself: learning_rate should be 1, here it is "
OWN_RATE = "Adafactor with relative_step sets its own rate: learning_rate, unet_lr, text_encoder_lr and lr_scheduler `linear` are not used"


@pytest.mark.parametrize(
    ("name", "args", "rates", "told"),
    [
        ("AdamW", {}, (1e-4, 5e-5), []),
        ("Prodigy", {}, (1.0, 1.0), []),
        ("Prodigy", {}, (1e-4,), [f"{ESTIMATES}0.0001"]),
        ("Prodigy", {}, (1.0, 0.5, 0.5), [f"{ESTIMATES}0.5, 1"]),
        ("Adafactor", {}, (1e-4,), [OWN_RATE]),
        ("Adafactor", {"relative_step": False}, (1e-4,), []),
    ],
)
def test_what_is_said_of_the_rates(name: str, args: dict[str, object], rates: tuple[float, ...], told: list[str]) -> None:
    groups = [ParamGroup("unet", [], rate) for rate in rates]
    assert notices(find_optimizer(name), args, groups, "linear") == told
