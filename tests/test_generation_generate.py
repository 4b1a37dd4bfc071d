"""Sampling, on a network of a few hundred weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from generation_fakes import SHOT, Oracle, Tiny, conditions, network
from torch import nn

from engine.diffusion.samplers import SAMPLERS
from engine.generation.generate import evaluating, first_noise, generate


def test_seeds_repeat_and_leave_the_process_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with evaluating((net := network()).unet):
        torch.set_rng_state(before)
        first = generate(net, SHOT, conditions())
        other = generate(net, dataclasses.replace(SHOT, seed=43), conditions())
        again = generate(net, SHOT, conditions())
    assert torch.equal(torch.get_rng_state(), before)
    assert first.shape == (4, 4, 8) and first.dtype == torch.float32
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not first.requires_grad and torch.is_grad_enabled()


def test_first_noise_is_everybodys() -> None:
    noise, source = first_noise(123, (1, 4, 4, 8))
    torch.manual_seed(123)
    assert torch.equal(noise, torch.randn(1, 4, 4, 8))
    assert torch.equal(torch.randn(3, generator=source), torch.randn(3))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "karras"), [*((row.name, False) for row in SAMPLERS), *((row.name, True) for row in SAMPLERS if row.karras)]
)
def test_every_sampler_finds_the_picture(name: str, karras: bool, prediction: str) -> None:
    clean = torch.linspace(-1, 1, 4 * 4 * 8, dtype=torch.float64).view(1, 4, 4, 8)
    net = network(Oracle(clean, prediction, False), prediction=prediction)
    for steps, tolerance in ((3, 0.15), (20, 0.08)):  # ddim and pndm end at the first noise level, not at none
        shot = dataclasses.replace(SHOT, sampler=name, karras=karras, steps=steps, scale=1.0)
        error = (generate(net, shot, conditions()) - clean[0]).abs().max()
        assert error < tolerance, (steps, float(error))


@pytest.mark.parametrize("name", ["ddim", "euler", "euler_a", "dpmsolver++"])
def test_zero_terminal_snr(name: str) -> None:
    clean = torch.linspace(-1, 1, 4 * 4 * 8, dtype=torch.float64).view(1, 4, 4, 8)
    net = network(Oracle(clean, "v_prediction", True), prediction="v_prediction", zero_terminal_snr=True)
    shot = dataclasses.replace(SHOT, sampler=name, steps=20, scale=1.0)
    assert (generate(net, shot, conditions()) - clean[0]).abs().max() < 0.12


def test_guidance_runs_both_prompts_as_one_batch() -> None:
    family = Tiny()
    net = network(family)
    with evaluating(net.unet):
        guided = generate(net, SHOT, conditions(0.0, 0.1))
        noisy, t, cond, size = family.calls[0]
        assert noisy.shape == (2, 4, 4, 8) and torch.equal(noisy[0], noisy[1])
        assert size is not None and size.tolist() == [[32, 64, 0, 0, 32, 64]] * 2 and size.dtype == torch.int64
        # the network is linear in the conditioning, so guidance at scale 3 equals the prompt 3 times as far from the negative one, unguided
        plain = generate(net, dataclasses.replace(SHOT, scale=1.0), conditions(9.0, 0.3))
    assert family.calls[-1][0].shape[0] == 1
    assert torch.allclose(guided, plain, atol=1e-5)


def test_progress_counts_network_steps() -> None:
    seen: list[tuple[int, int]] = []
    generate(network(), SHOT, conditions(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_evaluating_restores_every_modules_mode() -> None:
    mixed = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    mixed[1].eval()
    modes = [module.training for module in mixed.modules()]
    with pytest.raises(KeyError), evaluating(mixed):
        assert not any(module.training for module in mixed.modules())
        raise KeyError
    assert [module.training for module in mixed.modules()] == modes == [True, True, False, False]
