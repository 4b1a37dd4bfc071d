"""Adapters inside a tiny U-Net of diffusers: what its attention, its checkpointing and its memory layouts do with a layer's forward."""

from __future__ import annotations

import pytest
import torch
from adapters_fakes import settings
from torch import Tensor, nn

from engine import adapters, models
from engine.adapters import DeltaArgs
from engine.adapters.base import Method
from engine.models import configs
from engine.models.specs import UnetSpec

ROWS = pytest.mark.parametrize("row", ["lora", "loha"])
SPEC = UnetSpec(4, 4, (32, 64), 1, (1, 0), 1, 16, (8, 8), linear_projection=False)


@pytest.fixture
def unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel.from_config(configs.unet(SPEC)).requires_grad_(False)


def trained(unet: nn.Module, row: str, options: DeltaArgs, dropout: float | None = None) -> Method:
    sites = models.get("sd1").sites("unet", unet)
    method = adapters.make(adapters.row(row), sites, settings(options, dropout=dropout, rates={"unet": 1.0}))
    source = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in parameters(method):
            parameter.normal_(std=0.2, generator=source)
    method.attach()
    return method


def parameters(method: Method) -> list[nn.Parameter]:
    return [parameter for group in method.parameter_groups() for parameter in group.params]


def output(unet: nn.Module) -> Tensor:
    source = torch.Generator().manual_seed(2)
    noisy, text = torch.randn(2, 4, 8, 8, generator=source), torch.randn(2, 77, 16, generator=source)
    return unet(noisy, torch.tensor([5.0, 700.0]), encoder_hidden_states=text, return_dict=False)[0]


def gradients(unet: nn.Module, method: Method) -> list[Tensor]:
    method.prepare(3, None)
    output(unet).square().mean().backward()
    found = [parameter.grad.clone() for parameter in parameters(method)]
    for parameter in parameters(method):
        parameter.grad = None
    return found


@ROWS
@pytest.mark.parametrize("dropout", [None, 0.3])
def test_gradient_checkpointing(unet: nn.Module, row: str, dropout: float | None) -> None:
    method = trained(unet, row, DeltaArgs(conv_dim=2, conv_alpha=1), dropout)
    unet.train()
    kept = gradients(unet, method)
    unet.enable_gradient_checkpointing()
    recomputed = gradients(unet, method)
    assert all(tensor.abs().max() > 0 for tensor in kept)
    for one, other in zip(kept, recomputed, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=1e-5)
    assert all(parameter.grad is None for parameter in unet.parameters())


@ROWS
def test_channels_last(unet: nn.Module, row: str) -> None:
    method = trained(unet, row, DeltaArgs(conv_dim=2, conv_alpha=1))
    method.train(False)
    with torch.no_grad():
        exact = output(unet)
        method.strength = 0.0
        assert (output(unet) - exact).std() > 0.1 * exact.std()
        method.strength = 1.0
        unet.to(memory_format=torch.channels_last)
        torch.testing.assert_close(output(unet), exact, atol=1e-4, rtol=1e-4)


@ROWS
def test_strength_zero_is_the_base_bit_for_bit(unet: nn.Module, row: str) -> None:
    with torch.no_grad():
        base = output(unet)
        method = trained(unet, row, DeltaArgs(conv_dim=2))
        method.strength = 0.0
        assert torch.equal(output(unet), base)
        method.strength = -0.5
        assert not torch.equal(output(unet), base)
        method.detach()
        assert torch.equal(output(unet), base)
