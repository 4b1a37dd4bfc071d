"""The modules that a LoRA of the full-size models holds: how many, under which names, how large. The networks take no memory."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from adapters_fakes import settings
from torch import Tensor

from engine import adapters, models
from engine.adapters import DeltaArgs
from engine.adapters.base import Method
from engine.adapters.names import match, sdxl_name
from engine.errors import UserError
from engine.models import networks
from engine.models.family import Site
from engine.models.specs import ClipSpec, UnetSpec

SPECS: dict[str, dict[str, UnetSpec | ClipSpec]] = {
    "sd1": {
        "unet": UnetSpec(4, 4, (320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, 768, (8, 8, 8, 8), linear_projection=False),
        "text_encoder": ClipSpec(768, 12, 12, 3072, "quick_gelu"),
    },
    "sdxl": {
        "unet": UnetSpec(4, 4, (320, 640, 1280), 2, (0, 2, 10), 10, 2048, (5, 10, 20), True, label_width=2816, size_width=256),
        "text_encoder": ClipSpec(768, 12, 12, 3072, "quick_gelu"),
        "text_encoder_2": ClipSpec(1280, 32, 20, 5120, "gelu", projection=1280),
    },
}
# Modules by part, LierLa and C3Lier
COUNTS = {
    "sd1": ({"unet": 192, "text_encoder": 72}, {"unet": 278, "text_encoder": 72}),
    "sdxl": ({"unet": 722, "text_encoder": 72, "text_encoder_2": 192}, {"unet": 788, "text_encoder": 72, "text_encoder_2": 192}),
}
TABLES = {"sd1": "comfyui_sd15.json", "sdxl": "comfyui_sdxl.json"}
FAMILIES = pytest.mark.parametrize("family", list(SPECS))


@pytest.fixture(scope="module")
def sites() -> dict[str, list[Site]]:
    """Every site of every full-size part, on the meta device."""
    return {
        name: [site for part, spec in parts.items() for site in models.get(name).sites(part, networks.build(spec))]
        for name, parts in SPECS.items()
    }


def lora(sites: list[Site], dim: int, conv_dim: int | None = None) -> Method:
    options = DeltaArgs(conv_dim=conv_dim, conv_alpha=1)
    return adapters.make(adapters.row("lora"), sites, settings(options, dim=dim, alpha=1))


@FAMILIES
def test_module_counts(sites: dict[str, list[Site]], family: str) -> None:
    for conv_dim, wanted in zip((None, 4), COUNTS[family], strict=True):
        names = set(lora(sites[family], 4, conv_dim).names())
        assert len(names) == sum(wanted.values()), "and no name twice"
        by_part = {part: sum(site.part == part and site.name in names for site in sites[family]) for part in wanted}
        assert by_part == wanted


@FAMILIES
@pytest.mark.parametrize("conv_dim", [None, 4])
def test_comfyui_knows_every_name_and_shape(root: Path, sites: dict[str, list[Site]], family: str, conv_dim: int | None) -> None:
    table = root.parent / "shared/reference/keymaps" / TABLES[family]
    if not table.exists():
        pytest.skip("the table of ComfyUI's names is not here")
    accepted = json.loads(table.read_text(encoding="utf-8"))
    known = {**accepted["unet"], **accepted["clip"]}
    names = lora(sites[family], 4, conv_dim).names()
    assert len(names) == sum(COUNTS[family][conv_dim is not None].values())
    assert [name for name in names if name not in known] == []
    assert len({str(known[name]) for name in names}) == len(names), "each patches a weight of its own"


@pytest.mark.parametrize(("dim", "mebibytes"), [(128, 144.0), (32, 36.0), (8, 9.0)])
def test_size_of_an_sd1_file(sites: dict[str, list[Site]], dim: int, mebibytes: float) -> None:
    tensors = lora(sites["sd1"], dim).tensors(torch.float16)
    assert len(tensors) == 3 * 264
    assert round(sum(size(tensor) for tensor in tensors.values()) / 2**20, 1) == mebibytes


def size(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.element_size()


def test_shapes_in_the_file(sites: dict[str, list[Site]]) -> None:
    """Matrices for Linear, four dimensions for convolutions; SD1's projections are 1x1 convolutions, SDXL's are Linear."""
    sd1, sdxl = ({key: tuple(tensor.shape) for key, tensor in lora(sites[name], 4, 2).tensors(torch.float16).items()} for name in SPECS)
    assert sd1["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"] == (4, 320, 1, 1)
    assert sd1["lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"] == (320, 4, 1, 1)
    assert sd1["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"] == (2, 320, 3, 3)
    assert sd1["lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight"] == (320, 2, 1, 1)
    assert sd1["lora_unet_down_blocks_1_resnets_0_conv_shortcut.lora_down.weight"] == (4, 320, 1, 1)
    assert sd1["lora_te_text_model_encoder_layers_11_mlp_fc1.lora_up.weight"] == (3072, 4)
    assert sd1["lora_te_text_model_encoder_layers_11_mlp_fc1.alpha"] == ()
    assert sdxl["lora_unet_input_blocks_4_1_proj_in.lora_down.weight"] == (4, 640)
    assert sdxl["lora_unet_input_blocks_4_0_in_layers_2.lora_down.weight"] == (2, 320, 3, 3)
    assert sdxl["lora_unet_output_blocks_5_2_conv.lora_up.weight"] == (640, 2, 1, 1)
    assert sdxl["lora_te2_text_model_encoder_layers_31_self_attn_out_proj.lora_down.weight"] == (4, 1280)


def test_two_spellings_of_one_module_are_refused() -> None:
    known = {"lora_unet_input_blocks_4_1_proj_in": None}
    with pytest.raises(UserError, match="two spellings"):
        match(["lora_unet_input_blocks_4_1_proj_in", "lora_unet_down_blocks_1_attentions_0_proj_in"], known)


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
        ("down_blocks_0_resnets_1_norm2", "input_blocks_2_0_out_layers_0"),
        ("conv_in", "input_blocks_0_0"),
        ("conv_out", "out_2"),
        ("time_embedding_linear_2", "time_embed_2"),
        ("add_embedding_linear_1", "label_emb_0_0"),
    ],
)
def test_sdxl_names_in_both_layouts(diffusers: str, original: str) -> None:
    assert sdxl_name(f"lora_unet_{diffusers}") == f"lora_unet_{original}"
    assert sdxl_name(f"lora_unet_{original}") == f"lora_unet_{original}"


def test_sdxl_names_agree_with_comfyui(root: Path) -> None:
    """Its own table knows each weight under both spellings."""
    table = root.parent / "shared/reference/keymaps/comfyui_sdxl.json"
    if not table.exists():
        pytest.skip("the table of ComfyUI's names is not here")
    known: dict[str, str] = json.loads(table.read_text(encoding="utf-8"))["unet"]
    real = {weight for name, weight in known.items() if re.match(r"lora_unet_(input|middle|output)_", name)}
    diffusers = [name for name in known if re.match(r"lora_unet_(down|up|mid)_", name) and known[name] in real and "norm" not in name]
    pairs = [(name, sdxl_name(name)) for name in diffusers]
    assert sum(name != other for name, other in pairs) > 700
    wrong = [(name, other) for name, other in pairs if known.get(other) != known[name]]
    assert not wrong
