"""Which model a file is, and what is said of files that are none: from names and shapes, without torch and without weights."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from models_fakes import FULL, SD1, SDXL, TINY_SD1, original, write

from engine.errors import UserError
from engine.models.family import Marks
from engine.models.recognise import recognise, recognise_vae
from engine.models.specs import ClipSpec, Shape, UnetSpec

Shapes = dict[str, Shape]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_full_size_models_are_recognised_from_the_header(family: str, tmp_path: Path) -> None:
    checkpoint = recognise(write(tmp_path / "模型 model.safetensors", original(family, FULL[family])))
    assert (checkpoint.family, checkpoint.layout, checkpoint.marks) == (family, "original", Marks())
    assert checkpoint.marks_from == "nothing in the file"
    assert {part: network.spec for part, network in checkpoint.networks.items()} == FULL[family]


def test_recognising_imports_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", original("sd1", TINY_SD1))
    program = (
        "import sys; from pathlib import Path; from engine.models.recognise import recognise; from engine.tools.inspect import describe;"
        f"recognise(Path({str(path)!r})); describe(Path({str(path)!r}));"
        "sys.exit(bool({'torch', 'numpy', 'diffusers', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


def test_things_beside_the_networks_are_passed_over(tmp_path: Path) -> None:
    loose: Shapes = {
        "betas": (1000,),
        "alphas_cumprod": (1000,),
        "sqrt_one_minus_alphas_cumprod": (1000,),
        "logvar": (1000,),
        "model_ema.decay": (),
        "model_ema.diffusion_modeltime_embed0weight": (128, 32),
        "first_stage_model.loss.logvar": (),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": (1, 77),
        "cond_stage_model.transformer.text_projection.weight": (32, 32),
        "cond_stage_model.logit_scale": (),
        "global_step": (),
    }
    checkpoint = recognise(write(tmp_path / "model.safetensors", {**original("sd1", TINY_SD1), **loose}))
    assert any("averaged copy" in note for note in checkpoint.notes)
    assert {part: network.spec for part, network in checkpoint.networks.items()} == TINY_SD1


def test_old_layout_without_text_model_and_other_vae_prefix(tmp_path: Path) -> None:
    shapes = {
        name.replace("transformer.text_model.", "transformer.").replace("first_stage_model.", "vae."): shape
        for name, shape in original("sd1", TINY_SD1).items()
    }
    checkpoint = recognise(write(tmp_path / "old.safetensors", shapes))
    assert {part: network.spec for part, network in checkpoint.networks.items()} == TINY_SD1


@pytest.mark.parametrize(
    ("extra", "metadata", "marks", "told"),
    [
        ({"v_pred": (0,)}, {}, Marks("v_prediction"), "the tensor `v_pred`"),
        ({"v_pred": (0,), "ztsnr": (0,)}, {}, Marks("v_prediction", True), "the tensors `v_pred` and `ztsnr`"),
        ({"ztsnr": (0,)}, {}, Marks("epsilon", True), "the tensor `ztsnr`"),
        ({}, {"modelspec.prediction_type": "v"}, Marks("v_prediction"), "the metadata `modelspec.prediction_type`"),
        ({}, {"modelspec.predict_key": "v"}, Marks("v_prediction"), "the metadata `modelspec.predict_key`"),
        ({}, {"modelspec.prediction_type": "epsilon"}, Marks(), "the metadata `modelspec.prediction_type`"),
    ],
)
def test_marks_of_training(extra: Shapes, metadata: dict[str, str], marks: Marks, told: str, tmp_path: Path) -> None:
    checkpoint = recognise(write(tmp_path / "m.safetensors", {**original("sd1", TINY_SD1), **extra}, metadata=metadata))
    assert (checkpoint.marks, checkpoint.marks_from) == (marks, told)
    assert (checkpoint.prediction, checkpoint.zero_terminal_snr) == (marks.prediction, marks.zero_terminal_snr)


def test_a_name_that_speaks_of_v_prediction_gets_a_note(tmp_path: Path) -> None:
    checkpoint = recognise(write(tmp_path / "anime-vpred-1.0.safetensors", original("sd1", TINY_SD1)))
    assert checkpoint.prediction == "epsilon"
    assert any("v_parameterization" in note for note in checkpoint.notes)


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        recognise(path)
    assert caught.value.hint
    assert caught.value.where
    return caught.value


_UNET = "model.diffusion_model."
_ONE: Shape = (1,)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "lora_unet_mid_block_attentions_0_proj_in.alpha"], "a LoRA"),
        (["unet.mid_block.attentions.0.proj_in.lora_A.weight"], "a LoRA"),
        (["lora_unet_x.hada_w1_a"], "a LoRA"),
        (["first_stage_model.encoder.conv_in.weight", "first_stage_model.quant_conv.weight"], "a VAE alone"),
        (["encoder.conv_in.weight", "decoder.up.0.block.0.norm1.bias"], "a VAE alone"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "a CLIP text encoder alone"),
        (["encoder.block.0.layer.0.SelfAttention.q.weight"], "a T5"),
        (["emb_params"], "a textual inversion embedding"),
        (["clip_l", "clip_g"], "a textual inversion embedding"),
        (["control_model.input_blocks.0.0.weight"], "a ControlNet"),
        (["lllite_unet_input_blocks_4_1.down.0.weight"], "a ControlNet-LLLite"),
        (["down_blocks.0.motion_modules.0.x.weight"], "an AnimateDiff"),
        (["image_proj.proj.weight"], "an IP-Adapter"),
        (["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "a Stable Diffusion 3 model"),
        (["double_blocks.0.img_attn.qkv.weight"], "a FLUX model"),
        (["transformer.single_transformer_blocks.0.attn.to_q.weight"], "a FLUX model"),
        ([f"{_UNET}input_blocks.0.0.weight", "cond_stage_model.model.ln_final.weight"], "a Stable Diffusion 2.x model"),
        ([f"{_UNET}input_blocks.0.0.weight", "conditioner.embedders.0.model.ln_final.weight"], "the SDXL refiner"),
        ([f"{_UNET}input_blocks.0.0.weight", "edm_vpred.sigma_max", "conditioner.embedders.1.model.ln_final.weight"], "an EDM model"),
        ([f"{_UNET}input_blocks.0.0.weight"], "a U-Net alone"),
        (["down_blocks.0.resnets.0.conv1.weight"], "a U-Net alone"),
        (["linear.weight", "linear.bias"], "not a model that is known here"),
        ([], "no tensors"),
    ],
)
def test_other_files_are_named(names: list[str], words: str, tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "file.safetensors", dict.fromkeys(names, _ONE)))
    assert words in error.message


def changed(family: str, change: Callable[[Shapes], object]) -> Shapes:
    shapes = original(family, TINY_SD1 if family == "sd1" else SDXL)
    change(shapes)
    return shapes


@pytest.mark.parametrize(
    ("channels", "words"), [(9, "an inpainting model"), (8, "an InstructPix2Pix model"), (5, "whose U-Net takes 5 channels")]
)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_models_with_other_inputs_are_refused(family: str, channels: int, words: str, tmp_path: Path) -> None:
    width = 32 if family == "sd1" else 320
    shapes = changed(family, lambda shapes: shapes.update({f"{_UNET}input_blocks.0.0.weight": (width, channels, 3, 3)}))
    assert words in refusal(write(tmp_path / "m.safetensors", shapes)).message


def test_missing_tensors_are_listed_and_counted(tmp_path: Path) -> None:
    def drop(shapes: Shapes) -> None:
        for name in [name for name in shapes if name.startswith(f"{_UNET}output_blocks.0.") or name.endswith("attn_1.k.weight")]:
            del shapes[name]

    error = refusal(write(tmp_path / "m.safetensors", changed("sd1", drop)))
    assert "the Stable Diffusion 1.x unet misses 12 tensors: `model.diffusion_model.output_blocks.0.0.in_layers.0.weight`" in error.message
    assert "and 9 more" in error.message


def test_a_missing_joined_tensor_is_named_as_in_the_file(tmp_path: Path) -> None:
    name = "conditioner.embedders.1.model.transformer.resblocks.7.attn.in_proj_weight"
    error = refusal(write(tmp_path / "m.safetensors", changed("sdxl", lambda shapes: shapes.pop(name))))
    assert error.message == f"the Stable Diffusion XL text_encoder_2 misses 1 tensor: `{name}`"


@pytest.mark.parametrize(
    "name", ["model.diffusion_model.input_blocks.0.0.strange", "cond_stage_model.transformer.extra", "optimizer.state"]
)
def test_extra_tensors_are_listed(name: str, tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "m.safetensors", changed("sd1", lambda shapes: shapes.update({name: (1,)}))))
    assert "the file has 1 tensor that a Stable Diffusion 1.x" in error.message
    assert f"`{name}`" in error.message


def test_a_tensor_of_the_wrong_shape_is_named(tmp_path: Path) -> None:
    name = f"{_UNET}middle_block.0.in_layers.2.weight"
    error = refusal(write(tmp_path / "m.safetensors", changed("sd1", lambda shapes: shapes.update({name: (64, 64, 1, 1)}))))
    assert f"`{name}` of the Stable Diffusion 1.x unet is [64, 64, 1, 1]; its other tensors need [64, 64, 3, 3]" in error.message


def test_shapes_without_a_rule_are_refused_by_name(tmp_path: Path) -> None:
    wide = dataclasses.replace(TINY_SD1["unet"], widths=(40, 64)) if isinstance(TINY_SD1["unet"], UnetSpec) else None
    assert wide is not None
    error = refusal(write(tmp_path / "m.safetensors", original("sd1", {**TINY_SD1, "unet": wide})))
    assert "`model.diffusion_model.input_blocks.1.0.in_layers.2.weight`" in error.message
    assert "multiple of 32" in error.message


def test_parts_of_different_models_are_refused(tmp_path: Path) -> None:
    mixed = {**TINY_SD1, "text_encoder": ClipSpec(64, 1, 1, 64, "quick_gelu")}
    assert "reads text 32 wide, but the text encoders make 64" in refusal(write(tmp_path / "m.safetensors", original("sd1", mixed))).message


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    mixed = {**TINY_SD1, "text_encoder": ClipSpec(32, 1, 1, 64, "quick_gelu", vocabulary=50000)}
    assert "50,000 tokens" in refusal(write(tmp_path / "m.safetensors", original("sd1", mixed))).message


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    assert "quantised" in refusal(write(tmp_path / "m.safetensors", original("sd1", TINY_SD1), dtype="I8")).message


def test_a_model_without_a_vae_is_refused(tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in original("sd1", TINY_SD1).items() if not name.startswith("first_stage_model.")}
    assert "has no vae" in refusal(write(tmp_path / "m.safetensors", shapes)).message


def test_half_a_download_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", original("sd1", TINY_SD1))
    whole = path.stat().st_size
    with open(path, "rb+") as handle:
        handle.truncate(whole // 2)
    assert refusal(path).message == f"the file is incomplete: {whole // 2:,} of {whole:,} bytes are here"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"just some words that are no model", "neither a safetensors file nor a checkpoint"),
        (b"PK\x03\x04 cut short", "incomplete or damaged"),
    ],
)
def test_things_that_are_no_tensors_are_told(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert words in refusal(path).message


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "animefull-v2.safetensors", {})
    error = refusal(tmp_path / "animefull-v1.safetensors")
    assert error.hint == f"did you mean {tmp_path / 'animefull-v2.safetensors'}?"
    assert "animefull-v2" in refusal(tmp_path / "xyz.ckpt").hint


def test_a_missing_file_is_looked_for_in_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    write(tmp_path / "models" / "juggernaut.safetensors", {})
    monkeypatch.chdir(tmp_path)
    assert "did you mean" in refusal(Path("juggernaut.safetensors")).hint
    assert str(Path("models/juggernaut.safetensors")) in refusal(Path("juggernaut.ckpt")).hint


def test_a_hub_id_says_how_to_get_the_file() -> None:
    error = refusal(Path("runwayml/stable-diffusion-v1-5"))
    assert "hub" in error.message
    assert "python -m engine download runwayml/stable-diffusion-v1-5\n" in error.hint
    assert "models/" in error.hint
    assert "web address" in refusal(Path("https://huggingface.co/x/y/resolve/main/z.safetensors")).message


def test_a_folder_that_is_no_diffusers_model(tmp_path: Path) -> None:
    assert "no `model_index.json`" in refusal(tmp_path).message
    write(tmp_path / "a.safetensors", {})
    assert str(tmp_path / "a.safetensors") in refusal(tmp_path).hint
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}), encoding="utf-8")
    assert "AutoencoderKL alone" in refusal(tmp_path).message


def test_other_pipelines_are_refused(tmp_path: Path) -> None:
    for name in ("FluxPipeline", "StableDiffusion3Pipeline"):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}), encoding="utf-8")
        assert name in refusal(tmp_path).message
    (tmp_path / "text_encoder_2").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLImg2ImgPipeline"}), encoding="utf-8")
    assert "refiner" in refusal(tmp_path).message


def test_a_vae_is_found_in_every_kind_of_file(tmp_path: Path) -> None:
    shapes = original("sd1", TINY_SD1)
    inside = {name: shape for name, shape in shapes.items() if name.startswith("first_stage_model.")}
    bare = {name.removeprefix("first_stage_model."): shape for name, shape in inside.items()} | {"loss.logvar": ()}
    for number, names in enumerate((shapes, inside, bare)):
        assert recognise_vae(write(tmp_path / f"{number}.safetensors", names), "sd1").spec == TINY_SD1["vae"]


def test_a_vae_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path / "model.safetensors", original("sd1", TINY_SD1))
    with pytest.raises(UserError, match="does not fit Stable Diffusion XL"):
        recognise_vae(model, "sdxl")
    with pytest.raises(UserError, match="a LoRA") as caught:
        recognise_vae(write(tmp_path / "lora.safetensors", {"lora_unet_x.lora_down.weight": (1, 1)}), "sd1")
    assert "leave `vae` out" in caught.value.hint
    with pytest.raises(UserError, match="no such file"):
        recognise_vae(tmp_path / "nothing.safetensors", "sd1")
    assert SD1["vae"] != SDXL["vae"]


def test_whatever_is_wrong_is_told_to_the_user(tmp_path: Path) -> None:
    """Damaged names and shapes of every kind end in a UserError, never in another exception."""
    draw = random.Random(1)
    tiny_xl = {
        **TINY_SD1,
        "text_encoder_2": ClipSpec(32, 1, 1, 64, "gelu", 32),
        "unet": UnetSpec(4, 4, (32, 64), 1, (0, 1), 1, 64, (1, 1), True, 32 + 6 * 4, 4),
        "vae": dataclasses.replace(SDXL["vae"], widths=(32, 32, 32, 32), layers=1),
    }
    for family, specs in (("sd1", TINY_SD1), ("sdxl", tiny_xl)):
        whole = original(family, specs)
        assert recognise(write(tmp_path / "m.safetensors", whole)).family == family
        names = [name for name in whole if not name.endswith("logit_scale")]
        for _ in range(150):
            broken = dict(whole)
            for name in draw.sample(names, draw.choice([1, 1, 3, 200])):
                shape = broken.pop(name)
                change = draw.randrange(4)
                if change == 1:
                    broken[name] = draw.choice([(), shape[:1], (*shape, 1), tuple(2 * side for side in shape)])
                elif change == 2:
                    broken[name.replace("0", "7", 1) if "0" in name else f"{name}s"] = shape
                elif change == 3:
                    broken[draw.choice([name.rpartition(".")[0], name[:-1], f"{name}.x"]) or "x"] = shape
            if broken == whole or "betas" in broken:
                continue
            with pytest.raises(UserError):
                recognise(write(tmp_path / "m.safetensors", broken))


@pytest.mark.parametrize(
    ("said", "side"),
    [("512x512", 512), ("1216 x 832", 1024), ("64x64", 64), ("", None), ("large", None), ("9999x9999", None), ("1x1", None)],
)
def test_the_resolution_that_a_models_file_names(said: str, side: int | None, tmp_path: Path) -> None:
    named = original("sd1", TINY_SD1)
    assert recognise(write(tmp_path / "m.safetensors", named, metadata={"modelspec.resolution": said})).resolution == side
