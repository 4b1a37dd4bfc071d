"""The two families as the training code sees them: networks, prediction, latents, sites."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from models_fakes import FULL, original
from torch import Tensor, nn

from engine import models
from engine.errors import UserError
from engine.models import blueprint, networks
from engine.models.configs import config_of
from engine.models.family import Checkpoint, Cond, LatentSpec, Site, Target
from engine.models.layouts import LAYOUTS
from engine.models.recognise import recognise
from engine.models.vae import decode_images, encode_images

FAMILIES = [row.name for row in models.FAMILIES]
PARTS = [(layout.name, row.name) for layout in LAYOUTS for row in layout.parts]


@pytest.fixture(scope="module")
def checkpoints(micro_sd: Path, micro_sdxl: Path) -> dict[str, Checkpoint]:
    return {"sd1": recognise(micro_sd), "sdxl": recognise(micro_sdxl)}


@pytest.fixture(scope="module")
def full() -> dict[tuple[str, str], nn.Module]:
    """Every network of the real architectures, without memory."""
    return {(family, part): networks.build(FULL[family][part]) for family, part in PARTS}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_registry_and_its_classes_agree() -> None:
    for row in models.FAMILIES:
        family = models.get(row.name)
        assert family.name == row.name
        assert set(family.text_parts) < set(family.parts)
    with pytest.raises(UserError, match="no model family `sdx`") as caught:
        models.get("sdx")
    assert caught.value.hint == "Did you mean `sdxl`?"


@pytest.mark.parametrize(("family", "part"), PARTS)
def test_blueprints_are_what_the_libraries_build(family: str, part: str, full: dict[tuple[str, str], nn.Module]) -> None:
    built = {name: tuple(tensor.shape) for name, tensor in networks.tensors(full[family, part]).items()}
    assert built == blueprint.tensors(FULL[family][part])


@pytest.mark.parametrize("family", FAMILIES)
def test_full_size_single_files_convert_as_diffusers_converts_them(family: str) -> None:
    """Names, and which tensor goes where as far as shapes tell; the values are compared on the micro models."""
    from diffusers.loaders import single_file_utils as theirs

    specs = FULL[family]
    file = {name: torch.empty(shape, device="meta") for name, shape in original(family, specs).items()}
    unet = theirs.convert_ldm_unet_checkpoint(dict(file), {**config_of(specs["unet"]), "class_embed_type": None})
    vae = theirs.convert_ldm_vae_checkpoint(dict(file), config_of(specs["vae"]))
    for part, converted in (("unet", unet), ("vae", vae)):
        assert {name: tuple(tensor.shape) for name, tensor in converted.items()} == blueprint.tensors(specs[part])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family_name", FAMILIES)
def test_prediction_equals_diffusers(family_name: str, dtype: torch.dtype, checkpoints: dict[str, Checkpoint]) -> None:
    family = models.get(family_name)
    unet = family.load(checkpoints[family_name], "unet", dtype, "cpu")
    wide = family_name == "sdxl"
    context = int(unet.config.cross_attention_dim)
    cond = Cond(noise(2, 77, context), noise(2, 64) if wide else None)
    noisy, t = noise(2, 4, 16, 8, seed=1), torch.tensor([3.0, 997.0])
    size = torch.tensor([[512, 384, 0, 16, 128, 64], [100, 200, 3, 0, 128, 64]])
    added = {"text_embeds": cond.pooled.to(dtype), "time_ids": size} if cond.pooled is not None else None
    with torch.no_grad():
        ours = family.predict(unet, noisy, t, cond, size)
        theirs = unet(noisy.to(dtype), t, encoder_hidden_states=cond.hidden.to(dtype), added_cond_kwargs=added).sample
        elsewhere = family.predict(unet, noisy, t, cond, size + 64)
    assert ours.dtype == dtype
    assert ours.shape == noisy.shape
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, elsewhere) != wide
    if wide:
        with pytest.raises(ValueError, match="size"):
            family.predict(unet, noisy, t, cond)


@pytest.mark.parametrize("family_name", FAMILIES)
def test_the_micro_models_behave(family_name: str, checkpoints: dict[str, Checkpoint]) -> None:
    """Outputs are of order one, finite in half precision, and depend on text and time."""
    family, checkpoint = models.get(family_name), checkpoints[family_name]
    parts = {part: family.load(checkpoint, part, torch.float32, "cpu") for part in family.parts}
    size = torch.tensor([[128, 128, 0, 0, 128, 128]]).expand(3, -1)
    noisy = noise(1, 4, 16, 16).expand(3, -1, -1, -1)
    with torch.no_grad():
        cond = family.encode_text(parts, family.tokenize(["red, circle", "blue, star", ""]))
        out = family.predict(parts["unet"], noisy, torch.tensor([500.0] * 3), cond, size)
        later = family.predict(parts["unet"], noisy, torch.tensor([900.0] * 3), cond, size)
    assert 0.3 < out.std() < 3
    assert (out - out.mean(0)).std() > 0.01 * out.std()
    assert (out - later).std() > 0.01 * out.std()
    largest = []
    for module in parts["unet"].modules():
        module.register_forward_hook(
            lambda _module, _given, given: largest.append(float(given.abs().max())) if torch.is_tensor(given) else None
        )
    with torch.no_grad():
        family.predict(parts["unet"], 4 * noisy, torch.tensor([500.0] * 3), cond, size)
    assert max(largest) < 1000  # fp16 ends at 65504
    mean, std = encode_images(parts["vae"], torch.nn.functional.interpolate(noise(2, 3, 4, 4).clamp(-1, 1), 64))
    assert mean.shape == std.shape == (2, 4, 8, 8)
    assert 0.2 < family.latent.scaled(mean).std() < 3
    assert family.latent.spread(std).max() < 1


@pytest.mark.parametrize("family_name", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_pictures_and_latents_as_diffusers_makes_them(family_name: str, checkpoints: dict[str, Checkpoint]) -> None:
    family = models.get(family_name)
    vae = family.load(checkpoints[family_name], "vae", torch.float32, "cpu")
    pixels = noise(2, 3, 64, 32).clamp(-1, 1)
    mean, std = encode_images(vae, pixels)
    distribution = vae.encode(pixels).latent_dist
    assert torch.equal(mean, distribution.mean)
    assert torch.equal(std, distribution.std)
    assert torch.equal(decode_images(vae, mean), vae.decode(mean).sample.clamp(-1, 1))
    assert family.latent.scale[0] == pytest.approx(vae.config.scaling_factor)
    assert torch.allclose(family.latent.unscaled(family.latent.scaled(mean)), mean)
    half = vae.to(torch.bfloat16)
    assert encode_images(half, pixels)[0].dtype == decode_images(half, mean).dtype == torch.float32


def test_latents_may_be_scaled_by_channel() -> None:
    spec = LatentSpec(channels=2, stride=8, scale=(2.0, 4.0), shift=(1.0, -1.0))
    latents = torch.ones(1, 2, 1, 1)
    assert spec.scaled(latents).flatten().tolist() == [0.0, 8.0]
    assert spec.spread(latents).flatten().tolist() == [2.0, 4.0]
    assert torch.equal(spec.unscaled(spec.scaled(latents)), latents)


@pytest.mark.parametrize("family_name", FAMILIES)
def test_conditioning_survives_packing(family_name: str, checkpoints: dict[str, Checkpoint]) -> None:
    family = models.get(family_name)
    parts = {part: family.load(checkpoints[family_name], part, torch.float32, "cpu") for part in family.text_parts}
    cond = family.encode_text(parts, family.tokenize(["a", "b"]))
    packed = family.pack(cond)
    assert all(len(tensor) == 2 for tensor in packed.values())
    back = family.unpack(packed)
    assert torch.equal(back.hidden, cond.hidden)
    assert (back.pooled is None) == (family_name == "sd1")


def test_the_autoencoders_dtype() -> None:
    sd1, sdxl = models.get("sd1"), models.get("sdxl")
    assert [sd1.vae_dtype(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32)] == [
        torch.float16,
        torch.bfloat16,
        torch.float32,
    ]
    assert [sdxl.vae_dtype(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32)] == [
        torch.float32,
        torch.bfloat16,
        torch.float32,
    ]
    assert {family.vae_dtype(dtype, no_half_vae=True) for family in (sd1, sdxl) for dtype in (torch.float16, torch.bfloat16)} == {
        torch.float32
    }


def test_base_model_versions() -> None:
    assert [models.get("sd1").base_model_version(prediction) for prediction in ("epsilon", "v_prediction")] == ["sd_v1", "sd_v1_v"]
    assert models.get("sdxl").base_model_version("v_prediction") == "sdxl_base_v1-0"


def full_sites(family: str, full: dict[tuple[str, str], nn.Module]) -> list[Site]:
    return [site for part in models.get(family).parts for site in models.get(family).sites(part, full[family, part])]


def expanded(pattern: str) -> list[str]:
    """`a_{0,1}_b` -> `a_0_b`, `a_1_b`."""
    words = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return ["".join(chosen) for chosen in itertools.product(*words)]


@pytest.mark.parametrize(("family", "counts"), [("sd1", [192, 86, 4, 72]), ("sdxl", [722, 66, 6, 264])])
def test_full_size_sites(family: str, counts: list[int], full: dict[tuple[str, str], nn.Module], root: Path) -> None:
    """All of them, held against the list that is checked in; and how many the presets take, which are kohya's and LyCORIS' numbers."""
    found = full_sites(family, full)
    rows = [line.split(" ") for line in (root / "tests/data/sites.txt").read_text(encoding="utf-8").splitlines()[1:]]
    listed = [(part, kind, place, name) for of, part, kind, place, names in rows if of == family for name in expanded(names)]
    assert sorted((site.part, site.kind, site.place, site.name) for site in found) == sorted(listed)
    assert len({site.name for site in found}) == len(found)
    places = Counter(site.place if site.part == "unet" else site.part for site in found if site.kind != "norm")
    lierla = sum(places[place] for place in ("attention", "feed_forward", "transformer"))
    text = places["text_encoder"] + places["text_encoder_2"]
    assert [lierla, places["resnet"] + places["sampler"], places["end"], text] == counts
    shapes = {"linear": 2, "conv1x1": 4, "conv3x3": 4, "norm": 1}
    assert all(site.weight().dim() == shapes[site.kind] for site in found)


@pytest.mark.parametrize(("family", "table"), [("sd1", "comfyui_sd15.json"), ("sdxl", "comfyui_sdxl.json")])
def test_trap_8_site_names_are_those_that_uis_map(family: str, table: str, full: dict[tuple[str, str], nn.Module], root: Path) -> None:
    path = root.parent / "shared" / "reference" / "keymaps" / table
    if not path.is_file():
        pytest.skip("the table of names that ComfyUI accepts is not here")
    known = json.loads(path.read_text(encoding="utf-8"))
    accepted = set(known["unet"]) | set(known["clip"])
    assert not {site.name for site in full_sites(family, full)} - accepted


@pytest.mark.parametrize(
    ("family", "name", "kind", "place"),
    [
        ("sd1", "lora_unet_down_blocks_0_attentions_0_proj_in", "conv1x1", "transformer"),
        ("sd1", "lora_unet_down_blocks_1_resnets_0_conv_shortcut", "conv1x1", "resnet"),
        ("sd1", "lora_unet_up_blocks_0_upsamplers_0_conv", "conv3x3", "sampler"),
        ("sd1", "lora_unet_conv_out", "conv3x3", "end"),
        ("sdxl", "lora_unet_output_blocks_0_1_transformer_blocks_7_attn1_to_out_0", "linear", "attention"),
        ("sdxl", "lora_unet_input_blocks_3_0_op", "conv3x3", "sampler"),
        ("sdxl", "lora_unet_middle_block_0_in_layers_0", "norm", "resnet"),
        ("sdxl", "lora_te2_text_model_encoder_layers_31_mlp_fc2", "linear", "feed_forward"),
    ],
)
def test_sites_by_example(family: str, name: str, kind: str, place: str, full: dict[tuple[str, str], nn.Module]) -> None:
    site = next(site for site in full_sites(family, full) if site.name == name)
    assert (site.kind, site.place) == (kind, place)


def test_trap_1_text_encoder_names_have_the_text_model_level(
    full: dict[tuple[str, str], nn.Module], checkpoints: dict[str, Checkpoint], tmp_path: Path
) -> None:
    """transformers >= 5.6 has no `text_model` in CLIPTextModel: names of sites and of saved tensors must have it all the same."""
    from safetensors.torch import load_file

    family = models.get("sd1")
    assert all("_text_model_encoder_layers_" in site.name for site in family.sites("text_encoder", full["sd1", "text_encoder"]))
    parts = {part: family.load(checkpoints["sd1"], part, None, "cpu") for part in family.parts}
    family.save(parts, Target(tmp_path / "folder", "diffusers"))
    family.save(parts, Target(tmp_path / "single.safetensors"))
    assert all(name.startswith("text_model.") for name in load_file(tmp_path / "folder" / "text_encoder" / "model.safetensors"))
    encoder = [name for name in load_file(tmp_path / "single.safetensors") if name.startswith("cond_stage_model.")]
    assert all(name.startswith("cond_stage_model.transformer.text_model.") for name in encoder)
    assert len(encoder) == 36


def test_strict_loading_names_what_is_wrong() -> None:
    spec = FULL["sd1"]["vae"]
    with pytest.raises(RuntimeError, match="Missing key"):
        networks.filled(networks.build(spec), {})
