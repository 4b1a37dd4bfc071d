"""What every adapter method promises, held over the whole registry on a small network of the layers that models have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine import adapters
from engine.adapters import LoraArgs, MethodRow
from engine.adapters.base import Method
from engine.errors import UserError


@dataclass(frozen=True)
class Spot:
    """A site as the model families make them."""

    name: str
    layer: nn.Module
    part: str
    kind: str
    default: bool

    def weight(self) -> Tensor:
        return self.layer.weight


class Net(nn.Module):
    """Convolutions, a transformer's Linear layers with and without bias on [B, T, C], and one on [B, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.proj_in = nn.Conv2d(6, 8, 1)
        self.to_q = nn.Linear(8, 8, bias=False)
        self.to_out = nn.Linear(8, 8)
        self.time = nn.Linear(5, 6)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4, 8, 8] -> [B, 16, 8]."""
        h = self.conv(x) + self.time(x.flatten(1)[:, :5])[:, :, None, None]
        h = self.proj_in(F.silu(h)).flatten(2).transpose(1, 2)
        return checkpoint(self.block, h, use_reentrant=False) if self.recompute else self.block(h)

    def block(self, h: Tensor) -> Tensor:
        return h + self.to_out(torch.tanh(self.to_q(h)))


def spots(net: Net) -> list[Spot]:
    return [
        Spot("lora_unet_conv", net.conv, "unet", "conv3x3", False),
        Spot("lora_unet_time", net.time, "unet", "linear", False),
        Spot("lora_unet_proj_in", net.proj_in, "unet", "conv1x1", True),
        Spot("lora_unet_to_q", net.to_q, "unet", "linear", True),
        Spot("lora_te_to_out", net.to_out, "text_encoder", "linear", True),
    ]


RATES = {"unet": 2e-4, "text_encoder": 5e-5}


@dataclass(frozen=True)
class Case:
    """One way to use a method: its options, and what its file must hold."""

    options: object
    suffixes: tuple[str, ...]
    network_dropout: float | None = None


CASES: dict[str, dict[str, Case]] = {
    "lora": {
        "one alpha": Case(LoraArgs(conv_dim=2, conv_alpha=1.5), ("lora_down.weight", "lora_up.weight", "alpha")),
        "two alphas": Case(LoraArgs(conv_dim=2, conv_alpha=4), ("lora_down.weight", "lora_up.weight", "alpha")),
        "dropout": Case(
            LoraArgs(conv_dim=2, conv_alpha=1.5, rank_dropout=0.3, module_dropout=0.2),
            ("lora_down.weight", "lora_up.weight", "alpha"),
            network_dropout=0.25,
        ),
    },
}
PAIRS = [(row, case) for row in adapters.METHODS for case in CASES[row.name].values()]
pytestmark = pytest.mark.parametrize(
    ("row", "case"), PAIRS, ids=[f"{row.name}-{name}" for row in adapters.METHODS for name in CASES[row.name]]
)


def build(row: MethodRow, case: Case, net: Net, seed: int = 1) -> Method:
    """The method at alpha different from rank, attached, with values as after training and dropout off."""
    method = adapters.make(row, spots(net), dim=3, alpha=1.5, dropout=case.network_dropout, options=case.options, seed=seed, rates=RATES)
    values = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters(method):
            parameter.normal_(std=0.5, generator=values)
    method.train(False)
    method.attach()
    return method


def parameters(method: Method) -> Iterator[nn.Parameter]:
    for group in method.parameter_groups():
        yield from group.params


def net_and_input() -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net().requires_grad_(False), torch.randn(2, 4, 8, 8)


def test_it_changes_nothing_at_the_start(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    before = net(x)
    method = adapters.make(row, spots(net), dim=3, alpha=1.5, dropout=None, options=case.options, seed=1, rates=RATES)
    method.attach()
    assert len(method.names()) == 5
    torch.testing.assert_close(net(x), before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, -1.0])
def test_applied_equals_merged(row: MethodRow, case: Case, strength: float) -> None:
    net, x = net_and_input()
    before = net(x)
    method = build(row, case, net)
    method.strength = strength
    applied = net(x)
    changes = {layer.site.name: layer.delta() for layer in method.layers}
    method.detach()
    with torch.no_grad():
        for spot in spots(net):
            spot.weight().add_(strength * changes[spot.name])
    merged = net(x)
    if strength == 0.0:
        assert torch.equal(applied, before)
    else:
        assert (applied - before).abs().max() > 0.1 * before.std()
    torch.testing.assert_close(applied, merged, atol=2e-5, rtol=1e-5)


def test_a_small_change_survives_a_half_precision_base(row: MethodRow, case: Case) -> None:
    layer = nn.Linear(64, 64, bias=False).bfloat16().requires_grad_(False)
    nn.init.ones_(layer.weight)
    site = Spot("lora_unet_x", layer, "unet", "linear", True)
    method = adapters.make(row, [site], dim=4, alpha=2, dropout=None, options=case.options, seed=1, rates=RATES)
    with torch.no_grad():
        for parameter in parameters(method):
            parameter.normal_(std=3e-3, generator=torch.Generator().manual_seed(2))
    method.train(False)
    change = method.layers[0].delta()
    assert change.dtype == torch.float32
    assert 1e-6 < change.abs().mean() < 1e-4, "the update under test is about 1e-5"
    assert torch.equal(layer.weight + change.bfloat16(), layer.weight), "added to this base it would be lost"
    x = torch.tensor([1.0, -1.0]).repeat(32)[None].bfloat16()  # the base's own output is exactly 0
    method.attach()
    wanted = (change @ x[0].float())[None]
    assert (layer(x).float() - wanted).norm() < 0.02 * wanted.norm()


def test_only_the_adapter_gets_gradients(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    method = build(row, case, net)
    net(x).square().mean().backward()
    assert all(parameter.grad is None for parameter in net.parameters())
    for parameter in parameters(method):
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.abs().max() > 0


def test_gradients_are_those_of_the_merged_weights(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    x.requires_grad_()
    method = build(row, case, net)
    net(x).square().mean().backward()
    mine = [parameter.grad.clone() for parameter in parameters(method)]
    x_grad = x.grad.clone()
    x.grad = None
    method.detach()
    for parameter in parameters(method):
        parameter.grad = None
    merged = {f"{name}.weight": getattr(net, name).weight + layer.delta() for name, layer in by_attribute(net, method)}
    torch.func.functional_call(net, merged, (x,)).square().mean().backward()
    for one, other in zip(mine, parameters(method), strict=True):
        torch.testing.assert_close(one, other.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x_grad, x.grad, atol=1e-5, rtol=1e-4)


def by_attribute(net: Net, method: Method) -> Iterator[tuple[str, nn.Module]]:
    names = {id(module): name for name, module in net.named_modules()}
    return ((names[id(layer.site.layer)], layer) for layer in method.layers)


def test_saved_then_loaded_gives_the_same_output(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    first = build(row, case, net)
    wanted = net(x)
    saved = first.tensors(torch.float32)
    first.detach()
    second = build(row, case, net, seed=9)
    assert (net(x) - wanted).abs().max() > 0.1
    second.load(saved)
    torch.testing.assert_close(net(x), wanted, atol=1e-5, rtol=1e-5)


def test_saved_names_and_shapes(row: MethodRow, case: Case) -> None:
    net, _ = net_and_input()
    method = build(row, case, net)
    saved = method.tensors(torch.float16)
    assert set(saved) == {f"{spot.name}.{suffix}" for spot in spots(net) for suffix in case.suffixes}
    assert all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in saved.values())
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
    live = {parameter.data_ptr() for parameter in parameters(method)}
    assert not any(tensor.data_ptr() in live for tensor in method.tensors(torch.float32).values()), "a save must not change with training"


def test_loading_is_strict(row: MethodRow, case: Case) -> None:
    net, _ = net_and_input()
    method = build(row, case, net)
    saved = method.tensors(torch.float32)
    without = {key: tensor for key, tensor in saved.items() if not key.startswith("lora_unet_to_q.")}
    with pytest.raises(UserError, match=r"lacks 1 of the 5 modules .*`lora_unet_to_q`"):
        method.load(without)
    renamed = {key.replace("lora_unet_to_q.", "lora_unet_elsewhere."): tensor for key, tensor in saved.items()}
    with pytest.raises(UserError, match=r"1 of 5 modules .* no place here, such as `lora_unet_elsewhere`"):
        method.load(renamed)


def test_gradient_checkpointing_changes_no_gradient(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    method = build(row, case, net)
    method.train(True)
    gradients = []
    for recompute in (False, True):
        net.recompute = recompute
        method.prepare(5, None)
        net(x).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in parameters(method)])
        for parameter in parameters(method):
            parameter.grad = None
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_dropout_repeats_and_ends_with_training(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    method = build(row, case, net)
    calm = net(x)
    method.train(True)
    method.prepare(3, None)
    once = net(x)
    torch.randn(7)
    method.prepare(3, None)
    assert torch.equal(net(x), once)
    drops = case.network_dropout is not None
    method.prepare(4, None)
    assert torch.equal(net(x), once) is not drops
    assert torch.equal(once, calm) is not drops
    method.train(False)
    assert torch.equal(net(x), calm)


def test_the_base_keeps_its_tree_and_gets_itself_back(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    before, modules = net(x), [name for name, _ in net.named_modules()]
    values = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    method = build(row, case, net)
    assert [name for name, _ in net.named_modules()] == modules
    assert list(net.state_dict()) == list(values)
    assert sum(1 for _ in net.parameters()) == len(values)
    method.detach()
    assert all("forward" not in module.__dict__ for module in net.modules())
    assert all(torch.equal(tensor, values[key]) for key, tensor in net.state_dict().items())
    assert torch.equal(net(x), before)


def test_two_methods_add_up_and_come_off_in_order(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    first = build(row, case, net, seed=1)
    second = build(row, case, net, seed=2)
    both = net(x)
    with pytest.raises(RuntimeError, match="reverse order"):
        first.detach()
    with torch.no_grad():
        for spot in spots(net):
            for method in (first, second):
                spot.weight().add_(next(layer.delta() for layer in method.layers if layer.site.name == spot.name))
    first.strength = second.strength = 0.0
    torch.testing.assert_close(net(x), both, atol=2e-5, rtol=1e-5)
    second.detach()
    first.detach()
    assert all("forward" not in module.__dict__ for module in net.modules())


def test_autocast_computes_in_its_dtype(row: MethodRow, case: Case) -> None:
    net, x = net_and_input()
    method = build(row, case, net)
    exact = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x)
        assert net.to_q(torch.randn(2, 3, 8)).dtype == torch.bfloat16
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()
    half.float().square().mean().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in parameters(method))


def test_initial_values_belong_to_seed_and_site(row: MethodRow, case: Case) -> None:
    def values(order: int, seed: int) -> dict[str, Tensor]:
        net, _ = net_and_input()
        torch.randn(order + 2)
        method = adapters.make(row, spots(net)[::order], dim=3, alpha=1.5, dropout=None, options=case.options, seed=seed, rates=RATES)
        return method.tensors(torch.float32)

    forward, backward, other = values(1, 5), values(-1, 5), values(1, 6)
    assert forward.keys() == backward.keys()
    assert all(torch.equal(tensor, backward[key]) for key, tensor in forward.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in forward.items())
