"""LoRA files: what is written, what is read, hashes, merging."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine import files, headers, tensorfile
from engine.adapters import lorafile
from engine.adapters.lorafile import Factors
from engine.adapters.sizes import Sizes
from engine.errors import UserError


def module(rank: int = 4, alpha: float = 2.0, seed: int = 0, shape: tuple[int, ...] = (6, 5)) -> Factors:
    source = torch.Generator().manual_seed(seed)
    ones = (1,) * (len(shape) - 2)
    return Factors(torch.randn(rank, *shape[1:], generator=source), torch.randn(shape[0], rank, *ones, generator=source), alpha)


def test_the_formula() -> None:
    linear, conv = module(), module(shape=(6, 5, 3, 3), alpha=1.0)
    torch.testing.assert_close(linear.delta(), 0.5 * linear.up @ linear.down)
    by_loop = torch.einsum("orxy,rihw->oihw", conv.up, conv.down) * 0.25
    torch.testing.assert_close(conv.delta(), by_loop)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_change_is_formed_in_float32(dtype: torch.dtype) -> None:
    small = Factors(module().down.to(dtype), module().up.to(dtype) * 1e-4, 2.0)
    assert small.delta().dtype == torch.float32
    torch.testing.assert_close(small.delta(), 0.5 * small.up.float() @ small.down.float())


def test_one_alpha_is_written_beside_each_module() -> None:
    packed = lorafile.pack({"lora_unet_a": module(4), "lora_unet_b": module(8)}, torch.float16)
    assert sorted(packed) == [f"lora_unet_{x}.{suffix}" for x in "ab" for suffix in ("alpha", "lora_down.weight", "lora_up.weight")]
    assert packed["lora_unet_a.alpha"].shape == ()
    assert packed["lora_unet_a.alpha"].item() == 2.0
    assert {tensor.dtype for tensor in packed.values()} == {torch.float16}


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
    modules = {name: module(4, alpha, seed) for seed, (name, alpha) in enumerate(alphas.items())}
    packed = lorafile.pack(modules, torch.float32)
    found = lorafile.parse(packed)
    assert {name: float(packed[f"{name}.alpha"]) for name in alphas} == {name: written or alpha for name, alpha in alphas.items()}
    for name, factors in found.items():
        torch.testing.assert_close(factors.delta(), modules[name].delta())
        if written in (None, alphas[name]):
            assert torch.equal(factors.up, modules[name].up)


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ({Q: module(4, 2.0)}, Sizes("4", "2.0", "", "")),
        ({Q: module(4, 2.0), V: module(4, 2.0), CONV: module(2, 1.0, shape=(6, 5, 3, 3))}, Sizes("4", "2.0", "2", "1.0")),
        ({Q: module(4, 2.0), MLP: module(8, 2.0, shape=(6, 5, 1, 1))}, Sizes("Dynamic", "2.0", "", "")),
        ({CONV: module(2, 1.0, shape=(6, 5, 3, 3))}, Sizes("2", "1.0", "2", "1.0")),
    ],
)
def test_what_a_file_is_said_to_be(modules: dict[str, Factors], told: lorafile.Sizes) -> None:
    assert lorafile.sizes(lorafile.pack(modules, torch.float32)) == told


def test_an_alpha_that_half_precision_cannot_hold_is_written_in_full() -> None:
    packed = lorafile.pack({"lora_unet_a": module(alpha=0.3)}, torch.bfloat16)
    assert packed["lora_unet_a.alpha"].dtype == torch.float32
    assert packed["lora_unet_a.alpha"].item() == pytest.approx(0.3)


def test_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "資料 夾" / "a.safetensors"
    modules = {"lora_unet_a": module(), "lora_te_b": module(seed=1)}
    tensorfile.write(path, lorafile.pack(modules, torch.float32), {"ss_network_dim": "4"})
    found, metadata = lorafile.read(path)
    assert metadata == {"ss_network_dim": "4"}
    assert {name: factors.alpha for name, factors in found.items()} == {"lora_unet_a": 2.0, "lora_te_b": 2.0}
    assert all(torch.equal(found[name].down, factors.down) and torch.equal(found[name].up, factors.up) for name, factors in modules.items())


def test_a_missing_alpha_means_the_rank() -> None:
    packed = {key: tensor for key, tensor in lorafile.pack({"lora_unet_a": module()}, torch.float32).items() if "alpha" not in key}
    assert lorafile.parse(packed)["lora_unet_a"].alpha == 4.0


GOOD = {"lora_unet_a.lora_down.weight": torch.ones(2, 3), "lora_unet_a.lora_up.weight": torch.ones(4, 2)}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "no LoRA module"),
        ({"model.diffusion_model.out.2.weight": torch.ones(2)}, "not a LoRA file"),
        ({**GOOD, "lora_unet_a.dora_scale": torch.ones(1, 3)}, "DoRA"),
        ({"lora_unet_a.hada_w1_a": torch.ones(2, 2)}, "LoHa"),
        ({"lora_unet_a.lokr_w1": torch.ones(2, 2)}, "LoKr"),
        ({"lora_unet_a.lora_mid.weight": torch.ones(2, 2, 3, 3)}, "Tucker"),
        ({"unet.down_blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 2)}, "PEFT"),
        ({"unet.down_blocks.0.attn1.processor.to_q_lora.down.weight": torch.ones(2, 2)}, "PEFT"),
        ({"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.up.weight": torch.ones(2, 2)}, "PEFT"),
        ({"lora_unet_a.diff": torch.ones(2, 2)}, "full weight differences"),
        ({"lora_unet_a.lora_down.weight": torch.ones(2, 3)}, "`lora_unet_a` has no `lora_up.weight`"),
        ({**GOOD, "lora_unet_a.lora_up.weight": torch.ones(4, 3)}, r"do not fit: \[2, 3\] and \[4, 3\]"),
        ({**GOOD, "lora_unet_a.lora_down.weight": torch.ones(2)}, "do not fit"),
        ({**GOOD, "lora_unet_a.alpha": torch.ones(2)}, "not one number"),
    ],
)
def test_other_files_are_refused_by_name(tensors: dict[str, Tensor], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        lorafile.parse(tensors, "some.safetensors")
    assert caught.value.where == "some.safetensors"
    assert caught.value.hint


@pytest.mark.parametrize("rank", [4, 3000])
def test_hashes_are_those_of_the_finished_file(tmp_path: Path, rank: int) -> None:
    """Against their definition, on a file below and one above 1 MiB."""
    tensors = lorafile.pack(
        {"lora_unet_b": module(rank, shape=(64, 64)), "lora_unet_a": module(rank, seed=1, shape=(64, 64))}, torch.float32
    )
    ss = {"ss_network_dim": str(rank), "ss_output_name": "x"}
    model, legacy = lorafile.hashes(tensors, ss)
    finished = tmp_path / "finished.safetensors"
    tensorfile.write(finished, tensors, {**ss, "sshs_model_hash": model, "sshs_legacy_hash": legacy, "modelspec.title": "x"})
    raw = finished.read_bytes()
    assert (
        hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()
        == model
        == files.sha256(finished, headers.read(finished).data_start)
    )
    bare = tmp_path / "bare.safetensors"
    save_file(tensors, str(bare), metadata=ss)
    assert hashlib.sha256(bare.read_bytes()[0x100000:0x110000]).hexdigest()[:8] == legacy
    assert (legacy == "e3b0c442") is (rank == 4)


def test_the_hashes_leave_out_what_can_be_edited(tmp_path: Path) -> None:
    """The Model Spec's keys, which people change later. The old hash covers 64 KiB from 1 MiB on, which the `ss_*` keys push along."""
    tensors = lorafile.pack({"lora_unet_a": module(3000, shape=(64, 64))}, torch.float32)

    def told(metadata: dict[str, str]) -> dict[str, str]:
        lorafile.write(tmp_path / "a.safetensors", lambda dtype: tensors, torch.float32, metadata)
        return headers.read(tmp_path / "a.safetensors").metadata

    first, edited = told({"ss_epoch": "1"}), told({"ss_epoch": "1", "modelspec.title": "T"})
    longer = told({"ss_epoch": "1", "ss_steps": "22"})
    own = {name: value for name, value in first.items() if name.startswith("ss_")}
    raw = tensorfile.serialise(tensors, own)
    assert first == {
        **own,
        "sshs_model_hash": hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8],
    }
    assert (own["ss_network_dim"], own["ss_network_alpha"], own["ss_network_args"]) == ("3000", "2.0", "{}")
    assert edited == {**first, "modelspec.title": "T"}
    assert longer["sshs_model_hash"] == first["sshs_model_hash"] and longer["sshs_legacy_hash"] != first["sshs_legacy_hash"]


def test_the_order_of_modules_does_not_matter_to_the_hashes() -> None:
    modules = {"lora_unet_b": module(), "lora_unet_a": module(seed=1)}
    packed = lorafile.pack(modules, torch.float16)
    assert lorafile.hashes(packed, {}) == lorafile.hashes(dict(reversed(packed.items())), {})


@dataclass(frozen=True)
class Spot:
    name: str
    layer: nn.Module
    part: str = "unet"
    kind: str = "linear"
    default: bool = True

    def weight(self) -> Tensor:
        return self.layer.weight


@pytest.mark.parametrize("strength", [1.0, 0.5, -1.0])
def test_merging_rounds_once(strength: float) -> None:
    layer = nn.Linear(5, 6).bfloat16()
    before = layer.weight.detach().clone()
    factors = module()
    lorafile.merge_into([Spot("lora_unet_a", layer)], {"lora_unet_a": factors}, strength)
    assert torch.equal(layer.weight, (before.float() + strength * factors.delta()).bfloat16())


def test_merging_into_named_weights() -> None:
    weights = {"a.weight": torch.randn(6, 5), "a.bias": torch.randn(6), "b.weight": torch.randn(6, 5, 1, 1)}
    modules = {"lora_unet_a": module(), "lora_unet_b": module(seed=2)}  # a matrix for a 1x1 convolution
    merged = lorafile.merge(weights, modules, 2.0, {"a.weight": "lora_unet_a", "b.weight": "lora_unet_b"}.get)
    torch.testing.assert_close(merged["a.weight"], weights["a.weight"] + 2 * modules["lora_unet_a"].delta())
    torch.testing.assert_close(merged["b.weight"][..., 0, 0], weights["b.weight"][..., 0, 0] + 2 * modules["lora_unet_b"].delta())
    assert merged["a.bias"] is weights["a.bias"]


def test_merging_what_does_not_belong_is_refused() -> None:
    with pytest.raises(UserError, match="1 of 2 modules"):
        lorafile.merge_into([Spot("lora_unet_a", nn.Linear(5, 6))], {"lora_unet_a": module(), "lora_unet_c": module()}, 1.0)
    with pytest.raises(UserError, match=r"\[6, 5\], the model's is \[6, 9\]"):
        lorafile.merge_into([Spot("lora_unet_a", nn.Linear(9, 6))], {"lora_unet_a": module()}, 1.0)


def test_two_spellings_of_one_module_are_refused() -> None:
    known = {"lora_unet_input_blocks_4_1_proj_in": None}
    with pytest.raises(UserError, match="two spellings"):
        lorafile.match(["lora_unet_input_blocks_4_1_proj_in", "lora_unet_down_blocks_1_attentions_0_proj_in"], known)


@pytest.mark.parametrize(
    ("diffusers", "original"),
    [
        ("down_blocks_0_resnets_1_conv1", "input_blocks_2_0_in_layers_2"),
        ("down_blocks_1_resnets_0_conv_shortcut", "input_blocks_4_0_skip_connection"),
        ("down_blocks_2_attentions_1_transformer_blocks_9_attn2_to_out_0", "input_blocks_8_1_transformer_blocks_9_attn2_to_out_0"),
        ("down_blocks_1_downsamplers_0_conv", "input_blocks_6_0_op"),
        ("mid_block_resnets_0_conv2", "middle_block_0_out_layers_3"),
        ("mid_block_attentions_0_proj_out", "middle_block_1_proj_out"),
        ("mid_block_resnets_1_time_emb_proj", "middle_block_2_emb_layers_1"),
        ("up_blocks_1_attentions_2_transformer_blocks_0_ff_net_0_proj", "output_blocks_5_1_transformer_blocks_0_ff_net_0_proj"),
        ("up_blocks_1_upsamplers_0_conv", "output_blocks_5_2_conv"),
        ("up_blocks_2_resnets_2_conv1", "output_blocks_8_0_in_layers_2"),
    ],
)
def test_sdxl_names(diffusers: str, original: str) -> None:
    assert lorafile.sdxl_name(f"lora_unet_{diffusers}") == f"lora_unet_{original}"
    assert lorafile.sdxl_name(f"lora_unet_{original}") == f"lora_unet_{original}"


def test_sdxl_names_agree_with_comfyui(root: Path) -> None:
    """Its own table knows each weight under both spellings."""
    table = root.parent / "shared/reference/keymaps/comfyui_sdxl.json"
    if not table.exists():
        pytest.skip("the table of ComfyUI's names is not here")
    known: dict[str, str] = json.loads(table.read_text(encoding="utf-8"))["unet"]
    real = {weight for name, weight in known.items() if re.match(r"lora_unet_(input|middle|output)_", name)}
    diffusers = [name for name in known if re.match(r"lora_unet_(down|up|mid)_", name) and known[name] in real and "norm" not in name]
    pairs = [(name, lorafile.sdxl_name(name)) for name in diffusers]
    assert sum(name != other for name, other in pairs) > 700
    wrong = [(name, other) for name, other in pairs if known.get(other) != known[name]]
    assert not wrong
