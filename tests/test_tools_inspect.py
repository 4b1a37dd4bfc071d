"""`inspect`: what a model or adapter file is, from its header."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from models_fakes import SDXL, TINY_SD1, original, write

from engine.errors import UserError
from engine.tools.inspect import describe


def lines(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in describe(path).splitlines():
        label, _, value = line.partition(" ")
        found[label] = f"{found[label]}\n{value.strip()}" if label in found else value.strip()
    return found


def test_a_base_model(tmp_path: Path) -> None:
    shapes = {**original("sdxl", SDXL), "v_pred": (0,), "ztsnr": (0,)}
    told = lines(write(tmp_path / "my model.safetensors", shapes, metadata={"modelspec.title": "Mine", "long": "x " * 500}))
    assert told["is"] == "a Stable Diffusion XL base model, original layout"
    assert told["predicts"] == "v_prediction, zero terminal SNR (told by the tensors `v_pred` and `ztsnr`)"
    assert told["unet"] == "2,567.5 M values, F16: levels 320/640/1280, transformers 0/2/10, text 2048 wide, heads 5/10/20"
    assert told["text_encoder_2"].endswith("32 layers, 1280 wide, heads 20, gelu, pooled to 1280")
    assert told["vae"].endswith("4 channels at 1/8")
    assert told["tensors"].startswith("2,516, F16; ")
    assert "modelspec.title = Mine" in told["metadata"]
    assert "(1,000 characters)" in told["metadata"]


def lora(*names: str, rank: int = 8) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{end}": shape for name in names for end, shape in _LORA(rank).items()}


def _LORA(rank: int) -> dict[str, tuple[int, ...]]:
    return {"lora_down.weight": (rank, 768), "lora_up.weight": (320, rank), "alpha": ()}


def test_a_lora(tmp_path: Path) -> None:
    names = ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", "lora_te_text_model_encoder_layers_0_mlp_fc1")
    tags = json.dumps({"10_sks": {"1girl": 10, "smile": 3}, "5_other": {"1girl": 2, "hat": 7}})
    metadata = {"ss_output_name": "mine", "ss_network_dim": "8", "ss_network_alpha": "4", "ss_tag_frequency": tags, "ss_steps": "None"}
    told = lines(write(tmp_path / "lora.safetensors", {**lora(*names), **lora("lora_unet_other", rank=4)}, metadata=metadata))
    assert told["is"] == "an adapter: LoRA, for Stable Diffusion 1.x"
    assert told["unet"] == "2 modules: rank 8 (1), rank 4 (1), alpha 0 (2)"  # the file holds zeros
    assert told["text_encoder"] == "1 module: rank 8 (1), alpha 0 (1)"
    assert told["name"] == "mine"
    assert told["dim,"] == "alpha      8, 4"
    assert told["words"] == "1girl, hat, smile"
    assert "steps" not in told


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_alphas_are_read_from_the_file(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    tensors = {f"{name}.lora_down.weight": torch.ones(4, 8) for name in ("lora_unet_a", "lora_unet_b", "lora_unet_c")}
    tensors["lora_unet_a.alpha"] = torch.tensor(1.5, dtype=getattr(torch, dtype))
    tensors["lora_unet_b.alpha"] = torch.tensor(8.0, dtype=getattr(torch, dtype))
    save_file(tensors, tmp_path / "a.safetensors")
    assert lines(tmp_path / "a.safetensors")["unet"] == "3 modules: rank 4 (3), alpha 1.5 (1), alpha 8 (1), no alpha (1)"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"], "LoRA, for Stable Diffusion XL"),
        (["lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b"], "LoHa, for a model that the file does not name"),
        (["lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"], "LoKr"),
        (["unet.down.lora_A.weight", "unet.down.lora_B.weight"], "PEFT's naming"),
        (["base_model.model.down.lora_A.default.weight"], "PEFT's naming"),
        (["lora_unet_a.lora_down.weight", "lora_unet_b.lora_up.weight", "lora_unet_x.hada_w1_a"], "an adapter: LoRA and LoHa, for"),
    ],
)
def test_other_adapters(names: list[str], words: str, tmp_path: Path) -> None:
    assert words in lines(write(tmp_path / "a.safetensors", dict.fromkeys(names, (4, 4))))["is"]


@pytest.mark.parametrize(
    ("names", "readers"),
    [
        (["lora_unet_x.lora_down.weight"], "WebUI, Forge; ComfyUI; diffusers"),
        (["lora_unet_x.lora_down.weight", "lora_unet_y.hada_w1_a"], "WebUI, Forge; ComfyUI"),
        (["unet.down.lora_A.weight"], "diffusers"),
        (["lora_unet_x.oft_blocks"], "not known"),
    ],
)
def test_the_programs_that_read_an_adapter(names: list[str], readers: str | None, tmp_path: Path) -> None:
    assert lines(write(tmp_path / "a.safetensors", dict.fromkeys(names, (4, 4)))).get("readers") == readers


def test_broken_metadata_of_other_tools_is_no_error(tmp_path: Path) -> None:
    for broken in ("{", "[1]", '{"a": 1}', '{"a": {"b": "c"}}'):
        path = write(tmp_path / "a.safetensors", lora("lora_unet_x"), metadata={"ss_tag_frequency": broken})
        assert "words" not in lines(path)


def test_other_files_are_named(tmp_path: Path) -> None:
    vae = {name: shape for name, shape in original("sd1", TINY_SD1).items() if name.startswith("first_stage_model.")}
    assert lines(write(tmp_path / "vae.safetensors", vae))["is"] == "a VAE alone"
    damaged = original("sd1", TINY_SD1)
    del damaged["model.diffusion_model.out.2.bias"]
    assert "misses 1 tensor" in lines(write(tmp_path / "m.safetensors", damaged))["is"]
    assert "not a model that is known here" in lines(write(tmp_path / "x.safetensors", {"a": (1,)}))["is"]


def test_what_is_no_file_of_tensors_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    for path in (tmp_path / "a.txt", tmp_path / "missing", tmp_path, write(tmp_path / "none.safetensors", {})):
        with pytest.raises(UserError):
            describe(path)
