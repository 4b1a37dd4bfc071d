"""What every method of changed layers promises, held over the whole registry on a small network of the layers that models have.

Two more stand beside the registry's: a formula that reads the weight, and one that changes norms and their biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from adapters_fakes import FAKES, Spot, changes, filled, merge, parameters
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine import adapterfiles, adapters
from engine.adapters import DeltaArgs, LycorisArgs, MethodRow
from engine.adapters.base import MethodSettings, NothingLearned
from engine.adapters.method import LayerMethod
from engine.errors import UserError


class Net(nn.Module):
    """Convolutions, a transformer's Linear layers with and without bias on [B, T, C], one on [B, C], and norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.group = nn.GroupNorm(2, 6)
        self.proj_in = nn.Conv2d(6, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.to_q = nn.Linear(8, 8, bias=False)
        self.to_out = nn.Linear(8, 8)
        self.time = nn.Linear(5, 6)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4, 8, 8] -> [B, 16, 8]."""
        h = self.group(self.conv(x)) + self.time(x.flatten(1)[:, :5])[:, :, None, None]
        h = self.proj_in(F.silu(h)).flatten(2).transpose(1, 2)
        return checkpoint(self.block, h, use_reentrant=False) if self.recompute else self.block(h)

    def block(self, h: Tensor) -> Tensor:
        return h + self.to_out(torch.tanh(self.to_q(self.norm(h))))


def spots(net: Net) -> list[Spot]:
    """All layers of the network. A method takes those that it is made for."""
    return [
        Spot("lora_unet_conv", net.conv, kind="conv3x3", place="resnet"),
        Spot("lora_unet_group", net.group, kind="norm", place="resnet"),
        Spot("lora_unet_time", net.time, place="resnet"),
        Spot("lora_unet_proj_in", net.proj_in, kind="conv1x1", place="transformer"),
        Spot("lora_unet_norm", net.norm, kind="norm", place="transformer"),
        Spot("lora_unet_to_q", net.to_q),
        Spot("lora_te_to_out", net.to_out, part="text_encoder"),
    ]


RATES = {"unet": 2e-4, "text_encoder": 5e-5}


@dataclass(frozen=True)
class Case:
    """One way to use a method: its options, and the tensors of a module in its file. All sites but the norms get an adapter.

    `small`: how far from their beginning values make changes of about 1e-5. `sites`: the sites that are changed, where others are.
    """

    options: object
    ends: tuple[str, ...]
    network_dropout: float | None = None
    small: float = 2e-4
    sites: tuple[str, ...] = ("lora_unet_conv", "lora_unet_time", "lora_unet_proj_in", "lora_unet_to_q", "lora_te_to_out")

    @property
    def drops(self) -> bool:
        """Whether anything is drawn in training."""
        return any(getattr(self.options, name) for name in ("rank_dropout", "module_dropout")) or self.network_dropout is not None


LORA = ("lora_down.weight", "lora_up.weight", "alpha")
LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha")
CASES: dict[str, dict[str, Case]] = {
    "lora": {
        "one alpha": Case(DeltaArgs(conv_dim=2, conv_alpha=1.5), LORA),
        "two alphas": Case(DeltaArgs(conv_dim=2, conv_alpha=4), LORA),
        "dropout": Case(DeltaArgs(conv_dim=2, conv_alpha=1.5, rank_dropout=0.3, module_dropout=0.2), LORA, network_dropout=0.25),
    },
    "loha": {
        "plain": Case(DeltaArgs(conv_dim=2, conv_alpha=4), LOHA),
        "dropout": Case(DeltaArgs(conv_dim=2, rank_dropout=0.3, module_dropout=0.2), LOHA),
    },
    "lycoris": {
        "locon": Case(LycorisArgs("locon", dropout=0.25), LORA, network_dropout=0.25),
        "loha": Case(LycorisArgs("loha", rank_dropout=0.3, rank_dropout_scale=True), LOHA),
    },
    "scaled": {
        "plain": Case(DeltaArgs(conv_dim=2), ("scaled_up", "scaled_down", "alpha"), small=2e-5),
        "dropout": Case(DeltaArgs(conv_dim=2, rank_dropout=0.3), ("scaled_up", "scaled_down", "alpha"), small=2e-5),
    },
    "norms": {
        "plain": Case(DeltaArgs(), ("changed_weight", "changed_bias"), sites=("lora_unet_group", "lora_unet_norm")),
        "dropout": Case(DeltaArgs(rank_dropout=0.3), ("changed_weight", "changed_bias"), sites=("lora_unet_group", "lora_unet_norm")),
    },
}
ROWS = (*adapters.METHODS, *FAKES)
PAIRS = [(row, case) for row in ROWS for case in CASES[row.name].values()]
pytestmark = pytest.mark.parametrize(("row", "case"), PAIRS, ids=[f"{row.name}-{name}" for row in ROWS for name in CASES[row.name]])


@pytest.fixture(autouse=True)
def with_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their files are read as those of the registry's methods are."""
    monkeypatch.setattr(adapters, "METHODS", ROWS)
    monkeypatch.setattr(adapterfiles, "KINDS", (*(row.kind for row in FAKES), *adapterfiles.KINDS))


def made(row: MethodRow, case: Case, sites: list[Spot], dropout: float | None = None, seed: int = 1, dim: int = 3) -> LayerMethod:
    """The method over sites, at an alpha different from the rank."""
    method = adapters.make(row, sites, MethodSettings(dim, 1.5, dropout, case.options, seed, rates=RATES))
    assert isinstance(method, LayerMethod)
    return method


def build(row: MethodRow, case: Case, net: Net, seed: int = 1) -> LayerMethod:
    """The method, attached, with values as after training and dropout off."""
    method: LayerMethod = filled(made(row, case, spots(net), case.network_dropout, seed), seed=seed)
    method.train(False)
    method.attach()
    return method


def net_and_input() -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    net = Net().requires_grad_(False)
    for norm in (net.group, net.norm):
        nn.init.normal_(norm.weight, 1.0, 0.2)
        nn.init.normal_(norm.bias, 0.0, 0.2)
    return net, torch.randn(2, 4, 8, 8)


def test_it_changes_nothing_at_the_start(row: MethodRow, case: Case, tmp_path: Path) -> None:
    net, x = net_and_input()
    before = net(x)
    method = made(row, case, spots(net))
    method.attach()
    assert sorted(method.names()) == sorted(case.sites)
    torch.testing.assert_close(net(x), before, atol=1e-6, rtol=1e-6)
    with pytest.raises(NothingLearned):
        method.write(tmp_path / "a.safetensors", torch.float16, {})


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, -1.0])
def test_applied_equals_merged(row: MethodRow, case: Case, strength: float) -> None:
    net, x = net_and_input()
    before = net(x)
    method = build(row, case, net)
    method.strength = strength
    applied = net(x)
    method.detach()
    merge(method, strength)
    merged = net(x)
    if strength == 0.0:
        assert torch.equal(applied, before)
    else:
        assert (applied - before).abs().max() > 0.1 * before.std()
    torch.testing.assert_close(applied, merged, atol=2e-5, rtol=1e-5)


def test_a_small_change_survives_a_half_precision_base(row: MethodRow, case: Case) -> None:
    if "lora_unet_to_q" not in case.sites:
        pytest.skip("it changes no Linear layer")
    layer = nn.Linear(64, 64, bias=False).bfloat16().requires_grad_(False)
    nn.init.ones_(layer.weight)
    method = made(row, case, [Spot("lora_unet_x", layer)], dim=4)
    with torch.no_grad():
        for parameter in parameters(method):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=case.small)
    method.train(False)
    change = changes(method)["lora_unet_x"]
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


def test_every_parameter_is_in_one_group_of_its_parts_rate(row: MethodRow, case: Case) -> None:
    net, _ = net_and_input()
    method = made(row, case, spots(net))
    listed = [id(parameter) for parameter in parameters(method)]
    assert sorted(listed) == sorted(id(parameter) for layer in method.layers for parameter in layer.parameters())
    assert {group.name: group.rate for group in method.parameter_groups()} == {part: RATES[part] for part in method.trains}
    assert method.trains == {spot.part for spot in spots(net) if spot.name in case.sites}


def test_gradients_are_those_of_the_changed_weights(row: MethodRow, case: Case) -> None:
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
    places = {id(module): name for name, module in net.named_modules()}
    changed: dict[str, Tensor] = {}
    for layer in method.layers:
        module, place = layer.site.layer, places[id(layer.site.layer)]
        weight, bias = layer.changed(module.weight, module.bias, 1.0)
        changed |= {f"{place}.weight": weight, **({} if bias is None else {f"{place}.bias": bias})}
    torch.func.functional_call(net, changed, (x,)).square().mean().backward()
    for one, other in zip(mine, parameters(method), strict=True):
        torch.testing.assert_close(one, other.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x_grad, x.grad, atol=1e-5, rtol=1e-4)


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
    second.detach()
    third = adapters.from_file(spots(net), saved)
    third.attach()
    torch.testing.assert_close(net(x), wanted, atol=1e-5, rtol=1e-5)


def test_saved_names_and_shapes(row: MethodRow, case: Case) -> None:
    net, _ = net_and_input()
    method = build(row, case, net)
    saved = method.tensors(torch.float16)
    assert set(saved) == {f"{site}.{end}" for site in case.sites for end in case.ends}
    assert all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in saved.values())
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
    live = {parameter.data_ptr() for parameter in parameters(method)}
    assert not any(tensor.data_ptr() in live for tensor in method.tensors(torch.float32).values()), "a save must not change with training"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_size_is_that_of_the_file(row: MethodRow, case: Case, dtype: torch.dtype, tmp_path: Path) -> None:
    net, _ = net_and_input()
    method = build(row, case, net)
    metadata = {"ss_training_comment": '貓 "quoted"\n\\\x7f\x01', "ss_steps": "7"}
    assert method.write(tmp_path / "a.safetensors", dtype, metadata) == (tmp_path / "a.safetensors",)
    assert method.size(dtype, metadata) == (tmp_path / "a.safetensors").stat().st_size
    assert [program for program, _ in method.advice("a", tmp_path / "a.safetensors")] == ["WebUI, Forge", "ComfyUI", "diffusers"]


def test_loading_is_strict(row: MethodRow, case: Case) -> None:
    net, _ = net_and_input()
    method = build(row, case, net)
    saved = method.tensors(torch.float32)
    count, name = len(case.sites), sorted(case.sites)[-1]
    without = {key: tensor for key, tensor in saved.items() if not key.startswith(f"{name}.")}
    with pytest.raises(UserError, match=rf"lacks 1 of the {count} modules .*`{name}`"):
        method.load(without)
    renamed = {key.replace(f"{name}.", "lora_unet_elsewhere."): tensor for key, tensor in saved.items()}
    with pytest.raises(UserError, match=rf"1 of {count} modules .* no place here, such as `lora_unet_elsewhere`"):
        method.load(renamed)
    before = method.tensors(torch.float32)
    larger = {key: torch.cat([tensor, tensor]) if key == f"{name}.{case.ends[0]}" else tensor for key, tensor in saved.items()}
    with pytest.raises(UserError, match=rf"`{name}` (is|has rank) "):
        method.load(larger)
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.tensors(torch.float32).items()), "nothing was taken over"
    one = next(key for key in saved if not key.endswith("alpha"))
    with pytest.raises(UserError, match=f"has no `{one.split('.', 1)[1]}`"):
        method.load({key: tensor for key, tensor in saved.items() if key != one})


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
    method.prepare(4, None)
    assert torch.equal(net(x), once) is not case.drops
    assert torch.equal(once, calm) is not case.drops
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
    added = [layer.change(1.0) for method in (first, second) for layer in method.layers]
    with torch.no_grad():
        for layer, (weight, bias) in zip((*first.layers, *second.layers), added, strict=True):
            layer.site.layer.weight.add_(weight)
            if bias is not None:
                layer.site.layer.bias.add_(bias)
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
        return made(row, case, spots(net)[::order], seed=seed).tensors(torch.float32)

    forward, backward, other = values(1, 5), values(-1, 5), values(1, 6)
    assert forward.keys() == backward.keys()
    assert all(torch.equal(tensor, backward[key]) for key, tensor in forward.items())
    drawn = any(bool(parameter.any()) for parameter in parameters(made(row, case, spots(net_and_input()[0]))))
    assert any(not torch.equal(tensor, other[key]) for key, tensor in forward.items()) is drawn
