"""LoRA itself: ranks and alphas, dropout, max-norm, LoRA+, continuing from a file, and how many device operations it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from adapters_fakes import Spot, changes, filled, settings
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine import adapters
from engine.adapters import DeltaArgs
from engine.adapters.lora import LoraLayer
from engine.adapters.method import LayerMethod
from engine.errors import UserError

RATES = {"unet": 2.0, "text_encoder": 3.0, "text_encoder_2": 5.0}


def spots() -> list[Spot]:
    torch.manual_seed(0)
    return [
        Spot("lora_unet_input_blocks_4_1_proj_in", nn.Linear(6, 8)),
        Spot("lora_unet_input_blocks_4_1_proj_out", nn.Conv2d(6, 8, 1), kind="conv1x1"),
        Spot("lora_unet_input_blocks_4_0_in_layers_2", nn.Conv2d(4, 6, 3, padding=1), kind="conv3x3", place="resnet"),
        Spot("lora_unet_input_blocks_4_0_emb_layers_1", nn.Linear(5, 6), place="resnet"),
        Spot("lora_te1_text_model_encoder_layers_0_mlp_fc1", nn.Linear(7, 9), part="text_encoder"),
        Spot("lora_te2_text_model_encoder_layers_0_mlp_fc1", nn.Linear(7, 9), part="text_encoder_2"),
    ]


def make(sites: list[Spot], dim: int = 4, alpha: float | None = 2.0, options: DeltaArgs | None = None, **rest: Any) -> LayerMethod:
    for site in sites:
        site.layer.requires_grad_(False)
    rest = {"rates": RATES, **rest}
    method = adapters.make(adapters.row("networks.lora"), sites, settings(options, dim=dim, alpha=alpha, **rest))
    assert isinstance(method, LayerMethod)
    return method


def lora_layers(method: LayerMethod) -> Iterator[LoraLayer]:
    for layer in method.layers:
        assert isinstance(layer, LoraLayer)
        yield layer


def test_without_conv_dim_it_takes_the_default_sites() -> None:
    sites = spots()
    method = make(sites)
    assert method.names() == [site.name for site in sites if site.place != "resnet"]
    assert {(layer.rank, layer.alpha, layer.scale) for layer in lora_layers(method)} == {(4, 2.0, 0.5)}


@pytest.mark.parametrize(("conv_alpha", "wanted"), [(None, 1.0), (0.0, 3.0), (0.5, 0.5)])
def test_conv_dim_is_for_3x3_alone_and_brings_the_residual_blocks(conv_alpha: float | None, wanted: float) -> None:
    method = make(spots(), options=DeltaArgs(conv_dim=3, conv_alpha=conv_alpha))
    assert len(method.names()) == 6
    assert {layer.site.kind: (layer.rank, layer.alpha) for layer in lora_layers(method)} == {
        "linear": (4, 2.0),
        "conv1x1": (4, 2.0),
        "conv3x3": (3, wanted),
    }
    assert [layer.down.shape for layer in lora_layers(method)][2] == (3, 4, 3, 3)
    assert [layer.up.shape for layer in lora_layers(method)][2] == (6, 3, 1, 1)


@pytest.mark.parametrize("alpha", [None, 0.0])
def test_alpha_left_out_means_the_rank(alpha: float | None) -> None:
    assert {layer.scale for layer in lora_layers(make(spots(), alpha=alpha))} == {1.0}


def test_initial_values() -> None:
    layer = next(lora_layers(make([Spot("lora_unet_a", nn.Linear(400, 8))], dim=64)))
    assert not layer.up.any()
    bound = 400**-0.5
    assert 0.98 * bound < layer.down.abs().max() <= bound
    assert abs(layer.down.std().item() / (bound / 3**0.5) - 1) < 0.02


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"dim": 0}, "network_dim"),
        ({"options": DeltaArgs(conv_dim=-1)}, "conv_dim"),
        ({"dropout": 1.0}, "network_dropout"),
        ({"options": DeltaArgs(rank_dropout=-0.1)}, "rank_dropout"),
        ({"options": DeltaArgs(module_dropout=1.5)}, "module_dropout"),
        ({"dim_from_weights": True}, "dim_from_weights"),
    ],
)
def test_values_out_of_range_are_named(change: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError) as caught:
        make(spots(), **change)
    assert caught.value.where == place
    assert caught.value.hint


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UserError, match="there is no adapter method `networks.lroa`\nhint: Did you mean `networks.lora`"):
        adapters.row("networks.lroa")


def test_parameter_groups() -> None:
    def told(options: DeltaArgs) -> list[tuple[str, float, int]]:
        return [(group.name, group.rate, len(group.params)) for group in make(spots(), options=options).parameter_groups()]

    assert told(DeltaArgs()) == [("unet", 2.0, 4), ("text_encoder", 3.0, 2), ("text_encoder_2", 5.0, 2)]
    assert told(DeltaArgs(loraplus_lr_ratio=16, loraplus_text_encoder_lr_ratio=4)) == [
        ("unet", 2.0, 2),
        ("unet up", 32.0, 2),
        ("text_encoder", 3.0, 1),
        ("text_encoder up", 12.0, 1),
        ("text_encoder_2", 5.0, 1),
        ("text_encoder_2 up", 20.0, 1),
    ]
    assert told(DeltaArgs(loraplus_unet_lr_ratio=8))[1] == ("unet up", 16.0, 2)
    assert len(told(DeltaArgs(loraplus_unet_lr_ratio=8))) == 4


def test_it_trains_the_parts_that_carry_adapters() -> None:
    assert make(spots()).trains == {"unet", "text_encoder", "text_encoder_2"}
    assert make(spots()[:2]).trains == {"unet"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [2.0, 0.3])  # 0.3 is written in float32 beside half precision
def test_the_size_is_that_of_the_file(tmp_path: Path, dtype: torch.dtype, alpha: float) -> None:
    method = filled(make(spots(), alpha=alpha, options=DeltaArgs(conv_dim=2)))
    assert method.write(tmp_path / "a.safetensors", dtype, {}) == (tmp_path / "a.safetensors",)
    assert method.size(dtype, {}) == (tmp_path / "a.safetensors").stat().st_size


class Operations(TorchDispatchMode):
    """Counts what reaches the device; a view or an allocation is no operation on it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name not in {"view", "_unsafe_view", "t", "transpose", "detach", "new_empty", "empty", "alias", "expand"}:
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("dtype", "casts"), [(torch.float32, 0), (torch.bfloat16, 2)])
def test_a_linear_layer_costs_eight_products_with_its_own_two(dtype: torch.dtype, casts: int) -> None:
    site = Spot("lora_unet_a", nn.Linear(16, 24).to(dtype))
    method = filled(make([site]))
    method.attach()
    x = torch.randn(2, 5, 16, dtype=dtype, requires_grad=True)
    with Operations() as forward:
        y = site.layer(x)
    gradient = torch.randn_like(y)
    with Operations() as backward:
        torch.autograd.backward(y, gradient)
    thin_casts = {"_to_copy": casts} if casts else {}
    assert forward.counts == {"mm": 1, "addmm": 1, "addmm_": 1, **thin_casts}
    assert backward.counts == {"mm": 2, "addmm": 2, "addmm_": 1, **thin_casts}


def test_nothing_is_read_back_from_the_device() -> None:
    sites = spots()
    method = filled(make(sites, dropout=0.2, options=DeltaArgs(conv_dim=2, rank_dropout=0.1, module_dropout=0.1), scale_weight_norms=1.0))
    method.attach()
    method.train(True)
    with Operations() as step:
        method.prepare(1, None)
        sites[0].layer(torch.randn(2, 5, 6)).sum().backward()
        sites[2].layer(torch.randn(2, 4, 5, 5)).sum().backward()
        method.after_step()
    assert "_local_scalar_dense" not in step.counts
    assert "nonzero" not in step.counts


def test_the_result_may_be_changed_in_place() -> None:
    site = Spot("lora_unet_a", nn.Linear(6, 8))
    filled(make([site])).attach()
    x = torch.randn(2, 3, 6, requires_grad=True)
    kept = site.layer(x)
    site.layer(x).add_(1.0).relu_().sum().backward()
    grad, x.grad = x.grad, None
    F.relu(kept + 1.0).sum().backward()
    assert torch.equal(grad, x.grad)


def test_a_layer_under_training_keeps_its_gradient() -> None:
    site = Spot("lora_unet_a", nn.Linear(6, 8))
    method = filled(make([site]))
    site.layer.requires_grad_(True)
    method.attach()
    site.layer(torch.randn(3, 6)).square().sum().backward()
    assert site.layer.weight.grad is not None
    assert all(layer.down.grad is not None for layer in lora_layers(method))


def test_an_input_without_gradient() -> None:
    site = Spot("lora_unet_a", nn.Linear(6, 8))
    method = filled(make([site]))
    method.attach()
    site.layer(torch.randn(2, 3, 6)).sum().backward()
    assert all(layer.down.grad is not None for layer in lora_layers(method))


def dropped(options: DeltaArgs, dropout: float | None, kind: str) -> Tensor:
    """What is left of each rank, relative to no dropout, as [batch, position, rank]: identity factors make it visible."""
    r = 16
    layer: nn.Module = nn.Linear(r, r, bias=False) if kind == "linear" else nn.Conv2d(r, r, 1, bias=False)
    nn.init.zeros_(layer.weight)
    method = make([Spot("lora_unet_a", layer, kind=kind)], dim=r, alpha=r, options=options, dropout=dropout)
    one = next(lora_layers(method))
    with torch.no_grad():
        one.down.copy_(torch.eye(r).view_as(one.down))
        one.up.copy_(torch.eye(r).view_as(one.up))
    method.attach()
    method.prepare(0, None)
    with torch.no_grad():
        return layer(torch.ones(64, 50, r)) if kind == "linear" else layer(torch.ones(64, r, 5, 10)).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("kind", ["linear", "conv1x1"])
def test_rank_dropout_silences_a_rank_for_a_whole_sample(kind: str) -> None:
    left = dropped(DeltaArgs(rank_dropout=0.25), None, kind)
    assert torch.equal(left, left[:, :1].expand_as(left)), "the same at every position"
    assert left.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert abs((left[:, 0] == 0).float().mean().item() - 0.25) < 0.05
    assert (left[0, 0] != left[1, 0]).any(), "drawn anew for each sample"


@pytest.mark.parametrize("kind", ["linear", "conv1x1"])
def test_network_dropout_silences_single_activations(kind: str) -> None:
    left = dropped(DeltaArgs(), 0.5, kind)
    assert set(left.unique().tolist()) == {0.0, 2.0}
    assert abs(left.mean().item() - 1.0) < 0.02
    assert (left[:, 0] != left[:, 1]).any()


def test_module_dropout_silences_the_whole_layer() -> None:
    outcomes = set()
    site = Spot("lora_unet_a", nn.Linear(4, 4))
    method = filled(make([site], options=DeltaArgs(module_dropout=0.5)))
    x = torch.randn(2, 4)
    base = site.layer(x)
    method.train(False)
    method.attach()
    full = site.layer(x)
    method.train(True)
    for micro_step in range(40):
        method.prepare(micro_step, None)
        y = site.layer(x)
        silent = torch.allclose(y, base)
        assert silent or torch.allclose(y, full), "all or nothing, and not rescaled"
        outcomes.add(silent)
    assert outcomes == {True, False}


def test_processes_drop_differently_but_start_alike() -> None:
    first, second = (make(spots(), dropout=0.5, rank=rank) for rank in (0, 1))
    assert all(torch.equal(a.down, b.down) for a, b in zip(lora_layers(first), lora_layers(second), strict=True))
    draws = []
    for method in (first, second):
        method.prepare(7, None)
        draws.append(torch.rand(4))
    assert not torch.equal(*draws)


def test_max_norm() -> None:
    method = filled(make(spots(), options=DeltaArgs(conv_dim=3, conv_alpha=1), scale_weight_norms=2.0))
    quiet = next(lora_layers(method))
    with torch.no_grad():
        quiet.up.mul_(0.01)
    before = [(layer.delta(), layer.down.clone(), layer.up.clone()) for layer in lora_layers(method)]
    told = method.after_step()
    norms = []
    for layer, (delta, down, up) in zip(lora_layers(method), before, strict=True):
        ratio = min(2.0 / delta.norm().item(), 1.0)
        norms.append(delta.norm().item() * ratio)
        torch.testing.assert_close(layer.down, down * ratio**0.5)
        torch.testing.assert_close(layer.up, up * ratio**0.5)
        assert layer.delta().norm() <= 2.0 * (1 + 1e-5)
    assert torch.equal(quiet.down, before[0][1]), "a layer below the limit is left alone"
    assert told["average norm"].item() == pytest.approx(sum(norms) / len(norms), rel=1e-5)
    assert told["greatest norm"].item() == pytest.approx(2.0, rel=1e-5)
    assert told["layers held"].item() == sum(delta.norm().item() > 2.0 for delta, _, _ in before)
    assert make(spots()).after_step() == {}


def test_max_norm_leaves_a_fresh_adapter_alone() -> None:
    method = make(spots(), scale_weight_norms=1.0)
    before = [layer.down.clone() for layer in lora_layers(method)]
    assert method.after_step()["layers held"].item() == 0
    assert all(torch.equal(layer.down, down) for layer, down in zip(lora_layers(method), before, strict=True))


@pytest.mark.parametrize("keep_alpha", [True, False])
def test_continuing_keeps_the_change_whatever_the_alpha(keep_alpha: bool) -> None:
    old = filled(make(spots(), alpha=1.0))
    saved = old.tensors(torch.float32)
    wanted = changes(old) if keep_alpha else {name: delta * 4 for name, delta in changes(old).items()}
    if not keep_alpha:
        saved = {key: tensor for key, tensor in saved.items() if not key.endswith("alpha")}
    new = make(spots(), alpha=3.0, weights=saved)
    for name, delta in changes(new).items():
        torch.testing.assert_close(delta, wanted[name])
    assert {layer.alpha for layer in lora_layers(new)} == {3.0}


def test_ranks_come_from_the_file_when_asked() -> None:
    old = filled(make(spots(), dim=5, alpha=2.5, options=DeltaArgs(conv_dim=2, conv_alpha=2.5)))
    saved = {key: tensor for key, tensor in old.tensors(torch.float32).items() if "te2" not in key}
    new = make(spots(), dim=99, weights=saved, dim_from_weights=True)
    assert len(new.names()) == 5
    assert {(layer.rank, layer.alpha) for layer in lora_layers(new)} == {(5, 2.5), (2, 2.5)}
    for name, delta in changes(new).items():
        torch.testing.assert_close(delta, changes(old)[name])
    with pytest.raises(UserError, match=r"has rank 5 in the file and 4 in this run"):
        make(spots(), weights={key: tensor for key, tensor in saved.items() if "input_blocks_4_0" not in key} | te2(5))


def te2(rank: int) -> dict[str, Tensor]:
    name = "lora_te2_text_model_encoder_layers_0_mlp_fc1"
    return {f"{name}.lora_down.weight": torch.ones(rank, 7), f"{name}.lora_up.weight": torch.ones(9, rank)}


def test_continuing_from_another_models_file_is_refused_before_anything_changes() -> None:
    saved = filled(make(spots())).tensors(torch.float32)
    name = "lora_te2_text_model_encoder_layers_0_mlp_fc1"
    saved[f"{name}.lora_down.weight"] = torch.ones(4, 70)
    method = make(spots())
    before = method.tensors(torch.float32)
    with pytest.raises(UserError, match=r"is \[4, 70\] and \[9, 4\] in the file, \[4, 7\] and \[9, 4\] here"):
        method.load(saved)
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.tensors(torch.float32).items())


def test_diffusers_names_of_sdxl_are_understood() -> None:
    old = filled(make(spots()))
    saved = {key.replace("input_blocks_4_1", "down_blocks_1_attentions_0"): tensor for key, tensor in old.tensors(torch.float32).items()}
    assert any("down_blocks" in key for key in saved)
    new = make(spots(), weights=saved)
    for name, delta in changes(new).items():
        torch.testing.assert_close(delta, changes(old)[name])


def test_a_1x1_convolution_may_be_stored_as_a_matrix() -> None:
    old = filled(make(spots()))
    saved = old.tensors(torch.float32)
    key = "lora_unet_input_blocks_4_1_proj_out.lora_down.weight"
    saved[key] = saved[key].flatten(1)
    new = make(spots(), weights=saved)
    torch.testing.assert_close(changes(new)[key.split(".")[0]], changes(old)[key.split(".")[0]])


def test_the_formula() -> None:
    sites = [Spot("lora_unet_a", nn.Linear(5, 6)), Spot("lora_unet_b", nn.Conv2d(5, 6, 3), kind="conv3x3")]
    linear, conv = lora_layers(filled(make(sites, options=DeltaArgs(conv_dim=4, conv_alpha=1.0))))
    torch.testing.assert_close(linear.delta(), 0.5 * linear.up @ linear.down)
    by_loop = torch.einsum("orxy,rihw->oihw", conv.up, conv.down) * 0.25
    torch.testing.assert_close(conv.delta().view(6, 5, 3, 3), by_loop)


Q, V, MLP = (f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_{end}" for end in ("attn1_to_q", "attn2_to_v", "ff_net_2"))
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_"


@pytest.mark.parametrize(
    ("alphas", "written"),
    [
        ({Q: 4.0, V: 4.0, CONV: 1.0}, None),  # None: as they are
        ({Q: 4.0, CONV: 1.0}, 4.0),  # neither is the most common
        ({Q: 4.0, CONV: 1.0, MLP: 1.0}, 1.0),  # the most common is not the attention's
        ({Q: 4.0, V: 2.0, MLP: 4.0}, 4.0),
        ({Q: 4.0, V: 4.0, f"{TEXT}self_attn_q_proj": 2.0, f"{TEXT}mlp_fc1": 2.0}, None),  # each part has its own
        ({Q: 4.0, V: 4.0, f"{TEXT}self_attn_q_proj": 2.0, f"{TEXT}self_attn_k_proj": 2.0, f"{TEXT}mlp_fc1": 1.0}, 4.0),
        ({Q: 0.0, V: 2.0}, 2.0),  # by an alpha of 0 nothing can be divided
        ({CONV: 1.0}, None),
    ],
)
def test_alphas_that_differ_are_written_where_every_program_reads_them(alphas: dict[str, float], written: float | None) -> None:
    sites = [Spot(name, nn.Linear(5, 6), part="unet" if "unet" in name else "text_encoder") for name in alphas]
    file = {}
    for name, alpha in alphas.items():
        factors = torch.randn(4, 5), torch.randn(6, 4), torch.tensor(alpha)
        file |= {f"{name}.{end}": tensor for end, tensor in zip(("lora_down.weight", "lora_up.weight", "alpha"), factors, strict=True)}
    packed = adapters.from_file(sites, file).tensors(torch.float32)
    assert {name: float(packed[f"{name}.alpha"]) for name in alphas} == {name: written or alpha for name, alpha in alphas.items()}
    before, after = (changes(adapters.from_file(sites, tensors)) for tensors in (file, packed))
    for name, change in before.items():
        torch.testing.assert_close(after[name], change)
        if written in (None, alphas[name]):
            assert torch.equal(packed[f"{name}.lora_up.weight"], file[f"{name}.lora_up.weight"])
