"""One micro-step over a family that predicts what it is told: what the network gets, and what each sample's loss is, worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.data.batches import Batch
from engine.data.order import Planned, Sample
from engine.diffusion.objective import Objective
from engine.diffusion.schedule import Schedule
from engine.models.family import Cond, LatentSpec
from engine.training.step import Step

CPU = torch.device("cpu")
TABLES = Schedule(torch.tensor([0.8, 0.6]), torch.tensor([0.6, 0.8]), torch.tensor([2.0, 0.5]))  # t is 0 or 1


class Weight(nn.Module):
    """A network of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.0))


class FixedFamily:
    """Predicts the network's weight everywhere, and keeps what it is given."""

    latent = LatentSpec(channels=2, stride=8, scale=(0.5,), shift=(2.0,))

    def __init__(self) -> None:
        self.predicted: dict[str, Any] = {}
        self.encoded: dict[str, Any] = {}

    def predict(self, unet: Weight, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        self.predicted = {"unet": unet, "noisy": noisy, "t": t, "cond": cond, "size": size}
        return unet.value.to(noisy.dtype).expand(noisy.shape)

    def unpack(self, named: Mapping[str, Tensor]) -> Cond:
        return Cond(**named)

    def encode_text(self, encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int | None = None) -> Cond:
        self.encoded = {"encoders": encoders, "ids": ids, "clip_skip": clip_skip, "recorded": torch.is_grad_enabled()}
        return Cond(ids.float())


def filled(*values: float) -> Tensor:
    """[B, 2, 2, 2], one value a sample."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 2, 2, 2).clone()


def batch(**changed: Any) -> Batch:
    """Two samples: clean latents 1 and 2, noise 2 and 3, at t 0 and 1."""
    plain: dict[str, Any] = {
        "plan": Planned(1, 0, 0, (0, 1), True, False),
        "samples": (Sample(0, 0, False, "a"), Sample(1, 1, False, "b")),
        "mean": filled(3.0, 4.0),
        "std": filled(1.0, 2.0),
        "latent_noise": filled(1.0, 1.0),
        "noise": filled(2.0, 3.0),
        "t": torch.tensor([0.0, 1.0]),
        "size": torch.arange(12).view(2, 6),
        "weight": torch.ones(2),
        "cond": {"hidden": torch.ones(2, 1, 3), "pooled": torch.tensor([[1], [2]])},
    }
    return Batch(**{**plain, **changed})


def step(objective: Objective | None = None, dtype: torch.dtype = torch.float32, **changed: Any) -> Step:
    plain: dict[str, Any] = {"encoders": {}, "clip_skip": None, "trains": frozenset({"unet"})}
    return Step(
        FixedFamily(), Weight(), objective=objective or Objective(), tables=TABLES, device=CPU, dtype=dtype, **{**plain, **changed}
    )


def seen(made: Step) -> FixedFamily:
    assert isinstance(made.family, FixedFamily)
    return made.family


def test_what_the_network_gets() -> None:
    """Clean latents (mean - 2) * 0.5 + std * 0.5 * latent noise: 1 and 2. Noisy ones: 0.8 * 1 + 0.6 * 2 and 0.6 * 2 + 0.8 * 3."""
    made, given = step(), batch()
    made(given)
    told = seen(made).predicted
    torch.testing.assert_close(told["noisy"], filled(2.0, 3.6))
    assert told["unet"] is made.unet and torch.equal(told["t"], given.t) and torch.equal(told["size"], given.size)
    assert torch.equal(told["cond"].hidden, torch.ones(2, 1, 3)) and torch.equal(told["cond"].pooled, torch.tensor([[1], [2]]))


def test_mean_spread_and_latent_noise_differ_in_their_parts() -> None:
    made = step()
    made(batch(mean=filled(2.0, 4.0), std=filled(4.0, 1.0), latent_noise=filled(-1.0, 3.0), noise=filled(0.0, 0.0)))
    torch.testing.assert_close(seen(made).predicted["noisy"], filled(0.8 * -2.0, 0.6 * 2.5))


HALF = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])  # of the first sample the left half counts
TENTH = torch.tensor([1.0, 0.1])

# objective, weight, mask -> the loss of each sample. The network says 0, so the error is the target: the noise, 2 and 3; for v
# 0.8 * 2 - 0.6 * 1 = 1.0 and 0.6 * 3 - 0.8 * 2 = 0.2. Min-SNR with gamma 1: 1/2 and 1; for v 1/3 and 1/3.
LOSSES: dict[str, tuple[Objective, Tensor, Tensor | None, tuple[float, float]]] = {
    "plain": (Objective(), torch.ones(2), None, (4.0, 9.0)),
    "weight": (Objective(), TENTH, None, (4.0, 0.9)),
    "no weight at all": (Objective(), torch.tensor([0.0, 2.0]), None, (0.0, 18.0)),
    "mask": (Objective(), torch.ones(2), HALF, (2.0, 9.0)),
    "weight and mask": (Objective(), TENTH, HALF, (2.0, 0.9)),
    "v": (Objective("v_prediction"), torch.ones(2), None, (1.0, 0.04)),
    "v, weight": (Objective("v_prediction"), torch.tensor([0.5, 1.0]), None, (0.5, 0.04)),
    "min-SNR": (Objective(min_snr_gamma=1.0), torch.ones(2), None, (2.0, 9.0)),
    "min-SNR, weight and mask": (Objective(min_snr_gamma=1.0), TENTH, HALF, (1.0, 0.9)),
    "min-SNR and v": (Objective("v_prediction", min_snr_gamma=1.0), torch.ones(2), None, (1 / 3, 0.04 / 3)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("objective", "weight", "mask", "expected"), LOSSES.values(), ids=LOSSES.keys())
def test_the_loss_of_each_sample(
    objective: Objective, weight: Tensor, mask: Tensor | None, expected: tuple[float, float], dtype: torch.dtype
) -> None:
    """In float32, whatever the network computes in."""
    loss, each = step(objective, dtype)(batch(weight=weight, mask=mask))
    assert each.tolist() == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert loss.dtype == each.dtype == torch.float32
    assert loss.requires_grad and not each.requires_grad


def test_the_gradient_is_that_of_the_weighted_mean() -> None:
    """Of (w1 * (2 - x)^2 + w2 * (3 - x)^2) / 2 at x = 0."""
    made = step()
    made(batch(weight=TENTH))[0].backward()
    assert made.unet.value.grad.item() == pytest.approx((-2 * 2 * 1.0 - 2 * 3 * 0.1) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_network_gets_the_runs_dtype_and_whole_timesteps(dtype: torch.dtype) -> None:
    made = step(dtype=dtype)
    made(batch())
    told = seen(made).predicted
    assert (told["noisy"].dtype, told["cond"].hidden.dtype) == (dtype, dtype)
    assert (told["t"].dtype, told["cond"].pooled.dtype, told["size"].dtype) == (torch.float32, torch.int64, torch.int64)


def test_the_batch_is_brought_to_the_device() -> None:
    meta = torch.device("meta")
    made = Step(FixedFamily(), Weight().to(meta), {}, Objective(), TABLES.to(meta), meta, torch.float32, None, frozenset())
    loss, each = made(batch(mask=HALF))
    assert loss.device == each.device == meta
    assert {told.device for told in seen(made).predicted.values() if isinstance(told, Tensor)} == {meta}


@pytest.mark.parametrize(
    ("trains", "recorded"), [({"unet", "text_encoder"}, True), ({"text_encoder"}, True), ({"unet"}, False), (set(), False)]
)
def test_text_is_encoded_in_the_step_where_it_comes_as_ids(trains: set[str], recorded: bool) -> None:
    """Its forward pass is recorded only where the encoders are trained, and never where nothing is."""
    ids, encoders = torch.arange(8).view(1, 2, 4), {"text_encoder": nn.Identity()}
    made = step(encoders=encoders, clip_skip=2, trains=frozenset(trains))
    made(batch(cond=None, ids=ids))
    told = seen(made).encoded
    assert told["encoders"] is encoders and torch.equal(told["ids"], ids)
    assert (told["clip_skip"], told["recorded"]) == (2, recorded)
    assert torch.equal(seen(made).predicted["cond"].hidden, ids.float())
    with torch.no_grad():
        made(batch(cond=None, ids=ids))
    assert seen(made).encoded["recorded"] is False


def test_cached_text_is_not_encoded_again() -> None:
    made = step(trains=frozenset({"text_encoder"}))
    made(batch())
    assert seen(made).encoded == {}


def test_a_batch_without_text_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="neither encoded text nor token ids"):
        step()(batch(cond=None))
