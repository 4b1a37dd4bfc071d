"""LoHa itself: its formula, its beginning, what dropout leaves, and what its autograd node keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adapters_fakes import Spot, changes, filled, parameters, settings
from torch import Tensor, nn

from engine import adapters
from engine.adapters import DeltaArgs, LycorisArgs
from engine.adapters.loha import LohaLayer
from engine.adapters.method import LayerMethod

ROW = adapters.row("networks.loha")


def make(layer: nn.Module, kind: str = "linear", row: adapters.MethodRow = ROW, options: object = None, **rest: Any) -> LayerMethod:
    """LoHa over one frozen layer, with values as after training."""
    layer.requires_grad_(False)
    rest = {"rates": {"unet": 1.0}, **rest}
    method = adapters.make(row, [Spot("lora_unet_a", layer, kind=kind)], settings(options, **rest))
    assert isinstance(method, LayerMethod)
    return filled(method)


def test_the_formula() -> None:
    method = make(nn.Conv2d(5, 6, 3), "conv3x3", options=DeltaArgs(conv_dim=3, conv_alpha=1.5))
    (layer,) = method.layers
    assert isinstance(layer, LohaLayer)
    one, other = layer.w1_a @ layer.w1_b, layer.w2_a @ layer.w2_b
    torch.testing.assert_close(changes(method)["lora_unet_a"], (0.5 * one * other).view(6, 5, 3, 3).detach())
    assert [tuple(parameter.shape) for parameter in parameters(method)] == [(6, 3), (3, 45), (6, 3), (3, 45)]


def test_initial_values() -> None:
    layer = adapters.make(ROW, [Spot("lora_unet_a", nn.Linear(400, 300))], settings(dim=64)).layers[0]
    spread = {name: getattr(layer, name).std().item() for name in ("w1_a", "w1_b", "w2_b")}
    assert spread == {"w1_a": pytest.approx(0.1, rel=0.02), "w1_b": pytest.approx(1.0, rel=0.02), "w2_b": pytest.approx(1.0, rel=0.02)}
    assert not layer.w2_a.any()
    assert not torch.equal(layer.w1_b, layer.w2_b)


def test_lora_plus_speeds_up_what_starts_at_zero() -> None:
    groups = make(nn.Linear(4, 6), options=DeltaArgs(loraplus_lr_ratio=16)).parameter_groups()
    assert [(group.name, group.rate, len(group.params)) for group in groups] == [("unet", 1.0, 3), ("unet up", 16.0, 1)]
    assert groups[1].params[0].shape == (6, 4)


@pytest.mark.parametrize("alpha", [0.5, 8.0])
def test_continuing_keeps_the_change_whatever_the_alpha(alpha: float) -> None:
    old = make(nn.Linear(5, 6))
    new = make(nn.Linear(5, 6), alpha=alpha)
    new.load(old.tensors(torch.float32))
    torch.testing.assert_close(changes(new)["lora_unet_a"], changes(old)["lora_unet_a"])
    assert new.layers[0].alpha == alpha


def test_max_norm_holds_the_change() -> None:
    method = make(nn.Linear(50, 60), scale_weight_norms=1.0)
    before = changes(method)["lora_unet_a"]
    told = method.after_step()
    torch.testing.assert_close(changes(method)["lora_unet_a"], before / before.norm())
    assert told["greatest norm"].item() == pytest.approx(1.0) and told["layers held"].item() == 1


def rows_left(row: str, options: object, kind: str = "linear", out: int = 64) -> Tensor:
    """What dropout leaves of each row of the change, relative to none, in forty steps. [40, out]."""
    layer = nn.Linear(8, out, bias=False) if kind == "linear" else nn.Conv2d(8, out, 1, bias=False)
    nn.init.zeros_(layer.weight)
    method = make(layer, "linear" if kind == "linear" else "conv1x1", adapters.row(row), options)
    method.attach()
    x = torch.randn(3, 8) if kind == "linear" else torch.randn(3, 8, 2, 2)
    with torch.no_grad():
        method.train(False)
        whole = layer(x)
        method.train(True)
        found = []
        for step in range(40):
            method.prepare(step, None)
            left = layer(x) / whole
            assert torch.allclose(left, left[:1].expand_as(left), atol=1e-4), "the same rows for every sample"
            found.append(left[0].flatten(1)[:, 0] if kind == "conv" else left[0])
    return torch.stack(found)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_rank_dropout_leaves_out_rows_and_makes_up_for_them(kind: str) -> None:
    """As sd-scripts' networks.loha: the rows left are divided by 1 - p."""
    left = rows_left("networks.loha", DeltaArgs(rank_dropout=0.25), kind)
    assert (left.abs() < 1e-6).float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(left[left.abs() > 1e-6], torch.full_like(left[left.abs() > 1e-6], 4 / 3), atol=1e-3, rtol=1e-3)
    assert len({tuple((row > 0).tolist()) for row in left}) == 40, "drawn anew in each step"


def test_lycoris_leaves_out_rows_unscaled() -> None:
    left = rows_left("lycoris.kohya", LycorisArgs("loha", rank_dropout=0.25))
    assert (left.abs() < 1e-6).float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(left[left.abs() > 1e-6], torch.ones_like(left[left.abs() > 1e-6]), atol=1e-3, rtol=1e-3)


def test_lycoris_scales_by_what_was_drawn_when_asked() -> None:
    left = rows_left("lycoris.kohya", LycorisArgs("loha", rank_dropout=0.25, rank_dropout_scale=True))
    torch.testing.assert_close(left.mean(1), torch.ones(40), atol=1e-3, rtol=1e-3)
    assert (left.abs() < 1e-6).any()


def test_module_dropout_is_all_or_nothing() -> None:
    left = rows_left("networks.loha", DeltaArgs(module_dropout=0.5))
    assert set(left.round(decimals=3).flatten().tolist()) == {0.0, 1.0}
    assert all(len(set(row.round(decimals=3).tolist())) == 1 for row in left)


def test_dropout_of_activations_is_told_to_have_no_effect() -> None:
    assert make(nn.Linear(4, 6), dropout=0.1).notices == (
        "dropout 0.1 of single activations has no effect: LoHa has rank_dropout and module_dropout",
    )
    assert make(nn.Linear(4, 6)).notices == ()


def test_the_node_keeps_no_tensor_of_the_layers_size() -> None:
    """The change is formed again in the backward pass: between the passes only the input and the factors are kept."""
    layer = nn.Linear(64, 96, bias=False)
    method = make(layer)
    method.attach()
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(2, 64, requires_grad=True))
    assert kept.count((96, 64)) <= 1, "the frozen weight itself"
    assert {(96, 4), (4, 64), (2, 64)} <= set(kept)


def test_a_frozen_factor_gets_no_gradient() -> None:
    layer = nn.Linear(8, 6)
    method = make(layer)
    method.attach()
    one, *others = method.layers[0].parameters()
    one.requires_grad_(False)
    layer(torch.randn(2, 8, requires_grad=True)).sum().backward()
    assert one.grad is None and all(other.grad is not None for other in others)


def test_autocast_around_the_backward_pass_changes_no_gradient() -> None:
    layer = nn.Linear(8, 6)
    method = make(layer)
    method.attach()
    x = torch.randn(2, 8)
    found = []
    for inside in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            loss = layer(x).float().square().sum()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        found.append([parameter.grad.clone() for parameter in parameters(method)])
        for parameter in parameters(method):
            parameter.grad = None
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_nothing_is_read_back_from_the_device() -> None:
    from test_adapters_lora import Operations

    layer = nn.Linear(8, 6)
    method = make(layer, options=DeltaArgs(rank_dropout=0.1, module_dropout=0.1), scale_weight_norms=1.0)
    method.attach()
    method.train(True)
    with Operations() as step:
        method.prepare(1, None)
        layer(torch.randn(2, 5, 8)).sum().backward()
        method.after_step()
    assert not {"_local_scalar_dense", "nonzero"} & set(step.counts)
