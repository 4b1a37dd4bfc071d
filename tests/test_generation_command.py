"""Pictures from files: micro base models, LoRA files in front of them, and diffusers' own pipelines as the judge."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import adapters, models, tensorfile
from engine.config.schema import Config
from engine.diffusion import samplers
from engine.errors import UserError
from engine.generation import page, png
from engine.generation.command import Request, run, sample
from engine.generation.conditioning import encode
from engine.generation.generate import Network, decode, generate
from engine.generation.prompt import Shot, parse_line
from engine.models.recognise import recognise

CPU = torch.device("cpu")
PROMPTS = (
    parse_line("a (cat:1.3) on a mat --n bad --w 128 --h 64 --s 2 --d 7"),
    parse_line("a dog --w 64 --h 64 --s 2 --ss ddim --am 0"),
)


@pytest.fixture(scope="module")
def bases(micro_sd: Path, micro_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("base 模型")
    return {family: Path(shutil.copy(model, folder)) for family, model in (("sd1", micro_sd), ("sdxl", micro_sdxl))}


def write_lora(base: Path, path: Path, parts: tuple[str, ...]) -> Path:
    """A LoRA of random values over those parts of a base model."""
    checkpoint = recognise(base)
    family = models.get(checkpoint.family)
    sites = [site for part in parts for site in family.sites(part, family.load(checkpoint, part, torch.float32, CPU))]
    row = adapters.row("lora")
    method = adapters.make(row, sites, dim=2, alpha=1, dropout=None, options=row.options(), seed=0)
    source = torch.Generator().manual_seed(1)
    tensors = method.tensors(torch.float32)
    factors = {name: torch.randn(value.shape, generator=source) * 0.3 for name, value in tensors.items() if not name.endswith("alpha")}
    tensorfile.write(path, {**tensors, **factors}, {"ss_steps": "120", "ss_epoch": "3", "ss_network_module": "networks.lora"})
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_rows_for_the_base_model_and_each_file(bases: dict[str, Path], tmp_path: Path, family: str) -> None:
    parts = ("unet", *models.get(family).text_parts)
    loras = (
        write_lora(bases[family], tmp_path / "我的 lora.safetensors", parts),
        write_lora(bases[family], tmp_path / "unet.safetensors", ("unet",)),
    )
    said: list[str] = []
    request = Request(bases[family], PROMPTS, tmp_path / "out", loras, cache_dir=tmp_path / "cache", clip_skip=2)
    made = sample(request, said.append)
    record = page.load(tmp_path / "out", "")
    assert [(row.base, row.name, row.step, row.epoch) for row in record.rows] == [
        (True, bases[family].stem, 0, None), (False, "unet", 120, 3), (False, "我的 lora", 120, 3),
    ]  # fmt: skip
    base_cat, base_dog, lora_cat, lora_dog, unet_cat, _ = made.pictures
    assert lora_cat.name == "我的 lora_000120_00_7.png"
    assert np.abs(pixels(lora_cat) - pixels(base_cat)).max() > 8 and np.abs(pixels(lora_cat) - pixels(unet_cat)).max() > 0
    assert np.array_equal(pixels(lora_dog), pixels(base_dog))  # its prompt asks for strength 0
    settings = png.parse(png.read(lora_cat) or "").settings
    raw = loras[0].read_bytes()
    assert settings["Lora hashes"] == f"我的 lora: {hashlib.sha256(raw[8 + int.from_bytes(raw[:8], 'little') :]).hexdigest()[:12]}"
    assert settings["Model hash"] == hashlib.sha256(bases[family].read_bytes()).hexdigest()[:10]
    assert ("Clip skip" in settings) == (family == "sd1")
    assert "Lora hashes" not in png.parse(png.read(base_cat) or "").settings
    assert not made.notices and said[-1] == "loading the U-Net"


def test_what_is_no_lora_for_this_model_is_named(bases: dict[str, Path], tmp_path: Path) -> None:
    foreign, missing = write_lora(bases["sdxl"], tmp_path / "xl.safetensors", ("unet",)), tmp_path / "none.safetensors"
    for path, message in ((foreign, "no place here"), (bases["sdxl"], "not a LoRA file"), (missing, "no LoRA file of this name")):
        with pytest.raises(UserError, match=message) as caught:
            sample(Request(bases["sd1"], PROMPTS, tmp_path / "out", (path,), cache_dir=tmp_path / "cache"), lambda text: None)
        assert caught.value.where == str(path)


def test_another_vae_and_a_prompt_too_long(bases: dict[str, Path], tmp_path: Path) -> None:
    said: list[str] = []
    long = parse_line("x " * 230 + "--w 64 --h 64 --s 1 --d 1")
    for name, vae in (("own", None), ("same", bases["sd1"])):
        sample(Request(bases["sd1"], (long,), tmp_path / name, vae=vae, cache_dir=tmp_path / "cache"), said.append)
    assert any("230 tokens" in text for text in said)
    own, same = (next((tmp_path / name / "samples").iterdir()) for name in ("own", "same"))
    assert np.array_equal(pixels(own), pixels(same))


def test_the_settings_of_a_run_make_pictures(bases: dict[str, Path], tmp_path: Path) -> None:
    config = Config()
    with pytest.raises(UserError, match="no base model"):
        run(config, device=CPU, dtype=torch.float32, loras=(), prompts=("a",), folder=None, say=print)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, pretrained_model_name_or_path=str(bases["sd1"]), v_parameterization=True),
        data=dataclasses.replace(config.data, resolution=(128, 64), cache_dir=str(tmp_path / "cache")),
        save=dataclasses.replace(config.save, output_dir=str(tmp_path / "out")),
    )
    with pytest.raises(UserError, match="no prompt"):
        run(config, device=CPU, dtype=torch.float32, loras=(), prompts=(), folder=None, say=print)
    file = tmp_path / "p.txt"
    file.write_text("a cat --s 1 --ss k_euler\n", encoding="utf-8")
    config = dataclasses.replace(config, sample=dataclasses.replace(config.sample, sample_prompts=str(file)))
    made = run(config, device=CPU, dtype=torch.float32, loras=(), prompts=(), folder=None, say=lambda text: None)
    assert made.page == tmp_path / "out" / "sample" / "samples.html"
    settings = png.parse(png.read(made.pictures[0]) or "").settings
    assert (settings["Size"], settings["Sampler"]) == ("128x64", "Euler")
    made = run(
        config, device=CPU, dtype=torch.float32, loras=(), prompts=("b --s 1 --d 5",), folder=str(tmp_path / "x"), say=lambda text: None
    )
    assert [path.name for path in made.pictures] == ["micro-sd_base_00_5.png"] and made.page.parent == tmp_path / "x"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [row.name for row in samplers.SAMPLERS])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_pipelines_make_the_same_picture(bases: dict[str, Path], family: str, sampler: str) -> None:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    checkpoint, kind = recognise(bases[family]), models.get(family)
    nets = {part: kind.load(checkpoint, part, torch.float32, CPU) for part in kind.parts}
    shot = Shot("a cat on a mat", "bad", 128, 64, 42, 3, 7.5, sampler, False, 1.0)
    cond = encode(kind, nets, shot)
    (mine,) = decode(kind, nets["vae"], [generate(Network(kind, nets["unet"], CPU), shot, cond)], CPU)
    options: dict[str, object] = {"prompt_embeds": cond.hidden[1:], "negative_prompt_embeds": cond.hidden[:1], "output_type": "np"}
    common = {"vae": nets["vae"], "unet": nets["unet"], "scheduler": samplers.make(sampler), "text_encoder": None, "tokenizer": None}
    if family == "sd1":
        pipeline = StableDiffusionPipeline(**common, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    else:
        assert cond.pooled is not None
        options |= {"pooled_prompt_embeds": cond.pooled[1:], "negative_pooled_prompt_embeds": cond.pooled[:1]}
        pipeline = StableDiffusionXLPipeline(**common, text_encoder_2=None, tokenizer_2=None, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    source = torch.Generator().manual_seed(shot.seed)
    size = {"height": shot.height, "width": shot.width, "num_inference_steps": shot.steps, "guidance_scale": shot.scale}
    theirs = pipeline(**options, **size, generator=source).images[0]
    assert np.abs(theirs * 255 - mine.numpy()).max() < 0.51  # theirs is not rounded
