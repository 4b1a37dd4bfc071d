"""The noise schedule against its definition, its published values and diffusers'."""

from __future__ import annotations

import pytest
import torch

from engine.diffusion import schedule


def test_stable_diffusions_schedule() -> None:
    betas, alphas = schedule.betas(), schedule.alphas_cumprod()
    assert betas.dtype == alphas.dtype == torch.float64
    assert betas[0].item() == pytest.approx(0.00085, rel=1e-12)
    assert betas[-1].item() == pytest.approx(0.012, rel=1e-12)
    assert alphas[0].item() == pytest.approx(0.99915, rel=1e-12)
    assert alphas[-1].item() == pytest.approx(0.004660098513077238, rel=1e-5)  # as SD 1.x checkpoints hold it, in float32
    assert (alphas.diff() < 0).all()


def test_zero_terminal_snr_ends_in_noise_and_keeps_the_start() -> None:
    plain, rescaled = schedule.alphas_cumprod(), schedule.alphas_cumprod(zero_terminal_snr=True)
    assert rescaled[-1].item() == 0.0
    assert rescaled[0].item() == pytest.approx(plain[0].item(), rel=1e-12)
    assert (rescaled.diff() < 0).all()
    step = (plain.sqrt() - rescaled.sqrt())[1:] / (plain.sqrt()[0] - plain.sqrt())[1:]
    assert step.std() < 1e-9, "the square roots are shifted and stretched, nothing else"


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_tables(zero_terminal_snr: bool) -> None:
    tables = schedule.schedule(zero_terminal_snr)
    alphas = schedule.alphas_cumprod(zero_terminal_snr)
    for table in (tables.signal, tables.spread, tables.snr):
        assert table.shape == (1000,)
        assert table.dtype == torch.float32
        assert table.isfinite().all()
    torch.testing.assert_close(tables.signal.double() ** 2 + tables.spread.double() ** 2, torch.ones(1000).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(tables.snr.double(), alphas / (1 - alphas), atol=0, rtol=1e-6)
    assert (tables.snr[-1].item() == 0.0) is zero_terminal_snr


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_noise_and_velocity_are_diffusers(zero_terminal_snr: bool) -> None:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_terminal_snr,
        prediction_type="v_prediction",
    )
    tables = schedule.schedule(zero_terminal_snr)
    torch.manual_seed(0)
    x0, noise, t = torch.randn(4, 4, 5, 6), torch.randn(4, 4, 5, 6), torch.tensor([0.0, 250.0, 731.0, 999.0])
    noisy = schedule.add_noise(x0, noise, t, tables)
    v = schedule.velocity(x0, noise, t, tables)
    torch.testing.assert_close(noisy, theirs.add_noise(x0, noise, t.long()), atol=2e-4, rtol=0)
    torch.testing.assert_close(v, theirs.get_velocity(x0, noise, t.long()), atol=2e-4, rtol=0)
    signal, spread = (schedule.lookup(table, t).view(-1, 1, 1, 1) for table in (tables.signal, tables.spread))
    torch.testing.assert_close(signal * noisy - spread * v, x0, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spread * noisy + signal * v, noise, atol=1e-5, rtol=1e-5)


def test_each_sample_has_its_own_t() -> None:
    tables = schedule.schedule()
    x0, noise = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    noisy = schedule.add_noise(x0, noise, torch.tensor([0.0, 999.0]), tables)
    assert noisy[0, 0, 0, 0] == tables.signal[0]
    assert noisy[1, 0, 0, 0] == tables.signal[999]
