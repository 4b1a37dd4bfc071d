"""Pictures from files: micro base models, LoRA files in front of them, and diffusers' own pipelines as the judge."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engine import adapters, models, tensorfile
from engine.__main__ import main
from engine.adapters.base import MethodSettings
from engine.config.schema import Config
from engine.diffusion import samplers
from engine.errors import UserError
from engine.generation import png
from engine.generation.command import Request, run, sample
from engine.generation.conditioning import encode
from engine.generation.decoding import decode
from engine.generation.generate import Sampled, generate
from engine.generation.prompt import Shot, parse_line
from engine.models.base_model import Base, open_base
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


def write_lora(base: Path, path: Path, parts: tuple[str, ...] = ("unet",), seed: int = 1, step: int = 120) -> Path:
    """A LoRA of random values over those parts of a base model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = recognise(base)
    family = models.get(checkpoint.family)
    sites = [site for part in parts for site in family.sites(part, family.load(checkpoint, part, torch.float32, CPU))]
    row = adapters.row("lora")
    method = adapters.make(row, sites, MethodSettings(2, 1, None, row.options(), 0))
    source = torch.Generator().manual_seed(seed)
    tensors = method.tensors(torch.float32)
    factors = {name: torch.randn(value.shape, generator=source) * 0.3 for name, value in tensors.items() if not name.endswith("alpha")}
    tensorfile.write(path, {**tensors, **factors}, {"ss_steps": str(step), "ss_epoch": "3", "ss_network_module": "networks.lora"})
    return path


def opened(model: Path, folder: Path, **said: Any) -> Base:
    """A base model as a run of `sample` has it; `said` is what the settings say of it."""
    return open_base(str(model), folder / "cache", **said)[0]


def changed(model: Path, path: Path) -> Path:
    """A base model that differs from another in every network."""
    path.parent.mkdir(parents=True)
    tensors = load_file(model)
    save_file({name: tensor * 1.05 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}, path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(made: Path) -> list[tuple[str, list[Path]]]:
    """What a page shows: each row's name, and its pictures."""
    found = []
    for row in re.findall(r"<tr data-row.*?</tr>", made.read_text(encoding="utf-8")):
        links = [unquote(unescape(link)) for link in re.findall(r'<img src="([^"]+)"', row)]
        found.append((unescape(re.search(r'data-label="([^"]+)"', row)[1]), [made.parent / link for link in links]))  # type: ignore[index]
    return found


@pytest.mark.parametrize("family", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_rows_for_the_base_model_and_each_file(bases: dict[str, Path], tmp_path: Path, family: str) -> None:
    parts = ("unet", *models.get(family).text_parts)
    loras = (
        write_lora(bases[family], tmp_path / "我的 lora.safetensors", parts),
        write_lora(bases[family], tmp_path / "unet.safetensors", ("unet",)),
    )
    said: list[str] = []
    request = Request(opened(bases[family], tmp_path, clip_skip=2), PROMPTS, tmp_path / "out", loras)
    made = sample(request, said.append)
    assert [name for name, _ in rows(made.page)] == [
        f"{bases[family].stem}, base model, strength 0", "我的 lora, step 120", "unet, step 120",
    ]  # fmt: skip
    assert tuple(picture for _, pictures in rows(made.page) for picture in pictures) == made.pictures
    base_cat, base_dog, lora_cat, lora_dog, unet_cat, _ = made.pictures
    assert lora_cat.name == f"我的 lora_00_7_{hashlib.sha256(lora_cat.read_bytes()).hexdigest()[:8]}.png"
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
            sample(Request(opened(bases["sd1"], tmp_path), PROMPTS, tmp_path / "out", (path,)), lambda text: None)
        assert caught.value.where == str(path)


def test_another_vae_and_a_prompt_too_long(bases: dict[str, Path], tmp_path: Path) -> None:
    said: list[str] = []
    long = parse_line("x " * 230 + "--w 64 --h 64 --s 1 --d 1")
    for name, vae in (("own", None), ("same", str(bases["sd1"]))):
        sample(Request(opened(bases["sd1"], tmp_path, vae=vae), (long,), tmp_path / name), said.append)
    assert any("230 tokens" in text for text in said)
    own, same = (next((tmp_path / name / "compare").iterdir()) for name in ("own", "same"))
    assert np.array_equal(pixels(own), pixels(same))


def test_the_settings_of_a_run_make_pictures(bases: dict[str, Path], tmp_path: Path) -> None:
    config = Config()
    with pytest.raises(UserError, match="no base model"):
        run(config, device=CPU, dtype=torch.float32, loras=(), prompts=("a",), folder=None, say=print)
    with pytest.raises(UserError, match="there is no LoRA file of this name") as caught:
        run(config, device=CPU, dtype=torch.float32, loras=("nope.safetensors",), prompts=("a",), folder=None, say=print)
    assert caught.value.where == "nope.safetensors"
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
    said: list[str] = []
    made = run(config, device=CPU, dtype=torch.float32, loras=(), prompts=(), folder=None, say=said.append)
    assert made.page == tmp_path / "out" / "sample" / "compare.html"
    assert said[0].startswith("v_parameterization is set to True; by ")
    assert said[1] == f"no LoRA is named; the pictures go to {tmp_path / 'out' / 'sample'}"
    settings = png.parse(png.read(made.pictures[0]) or "").settings
    assert (settings["Size"], settings["Sampler"]) == ("128x64", "Euler")
    made = run(
        config, device=CPU, dtype=torch.float32, loras=(), prompts=("b --s 1 --d 5",), folder=str(tmp_path / "x"), say=lambda text: None
    )
    assert [path.name[:-13] for path in made.pictures] == ["micro-sd_base_00_5"] and made.page.parent == tmp_path / "x"


# ---- nothing is replaced -------------------------------------------------------------------------------------------------------------

LINE = "a cat --n bad --w 64 --h 64 --s 2 --d 7 --l 3 --ss euler --am 0.9"
CHANGES = (("--n bad", ""), ("--w 64", "--w 72"), ("--s 2", "--s 3"), ("--l 3", "--l 4"), ("euler", "euler --karras"))
FEW = ("another prompt", "another LoRA of the name", "another base of the name", "clip_skip")


def told_hashes(request: Request) -> tuple[str, str]:
    """What a picture's text must say of its LoRA and its base model."""
    raw = request.loras[0].read_bytes()
    content = hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()[:12]
    return f"{request.loras[0].stem}: {content}", hashlib.sha256(request.base.path.read_bytes()).hexdigest()[:10]


def replaces_nothing(first: Request, changes: list[dict[str, object]], folder: Path) -> None:
    """Whatever one thing is changed, all earlier pictures and pages stay, and each page shows its own pictures."""
    before: dict[str, bytes] = {}
    for number, change in enumerate(({}, *changes), start=1):
        request = dataclasses.replace(first, **change)  # type: ignore[arg-type]
        made = sample(request, lambda text: None)
        now = content(folder)
        assert before.items() <= now.items(), change
        assert made.page == folder / ("compare.html" if number == 1 else f"compare_{number}.html")
        (_, (base,)), (_, (picture,)) = rows(made.page)
        assert (base, picture) == made.pictures and picture.relative_to(folder).as_posix() not in before, change
        told = png.parse(png.read(picture) or "")
        assert (told.prompt, told.negative) == (request.prompts[0].text, request.prompts[0].negative)
        assert (told.settings["Lora hashes"], told.settings["Model hash"]) == told_hashes(request)
        before = now
    assert {path.name for path in folder.iterdir() if path.suffix != ".html"} == {"compare"}


def different(bases: dict[str, Path], folder: Path) -> tuple[Request, dict[str, dict[str, object]]]:
    """A request, and each single change to it that makes another picture of the same seed and the same names."""
    lora = write_lora(bases["sd1"], folder / "a" / "x.safetensors")
    other = changed(bases["sd1"], folder / "other" / bases["sd1"].name)
    request = Request(opened(bases["sd1"], folder), (parse_line(LINE),), folder / "out", (lora,))
    return request, {
        "another prompt": {"prompts": (parse_line(LINE.replace("cat", "dog")),)},
        "another LoRA of the name": {"loras": (write_lora(bases["sd1"], folder / "b" / "x.safetensors", seed=2),)},
        "another base of the name": {"base": opened(other, folder)},
        "clip_skip": {"base": opened(bases["sd1"], folder, clip_skip=2)},
        "vae": {"base": opened(bases["sd1"], folder, vae=str(other))},
        "prediction": {"base": opened(bases["sd1"], folder, v_parameterization=True)},
        "zero_terminal_snr": {"base": opened(bases["sd1"], folder, zero_terminal_snr=True)},
        "number format": {"dtype": torch.bfloat16},
        **{before: {"prompts": (parse_line(LINE.replace(before, after)),)} for before, after in CHANGES},
    }


@pytest.mark.slow
def test_no_picture_is_replaced_by_another(bases: dict[str, Path], tmp_path: Path) -> None:
    request, changes = different(bases, tmp_path)
    replaces_nothing(request, [changes[name] for name in FEW], tmp_path / "out")


@pytest.mark.slow
def test_no_picture_is_replaced_whatever_is_changed(bases: dict[str, Path], tmp_path: Path) -> None:
    request, changes = different(bases, tmp_path)
    assert tuple(changes)[: len(FEW)] == FEW
    replaces_nothing(request, [change for name, change in changes.items() if name not in FEW], tmp_path / "out")


def test_the_same_call_again_is_a_page_more_with_the_same_pictures(bases: dict[str, Path], tmp_path: Path) -> None:
    request = Request(opened(bases["sd1"], tmp_path), (parse_line(LINE),), tmp_path / "out")
    first = sample(request, lambda text: None)
    before = content(tmp_path / "out")
    again = sample(request, lambda text: None)
    assert again.pictures == first.pictures and again.page == tmp_path / "out" / "compare_2.html"
    assert content(tmp_path / "out") == before | {"compare_2.html": first.page.read_bytes()}


def test_pictures_lie_beside_the_lora_and_the_runs_own_stay(bases: dict[str, Path], tmp_path: Path) -> None:
    run_folder = tmp_path / "my run 測試"
    lora = write_lora(bases["sd1"], run_folder / "x.safetensors")
    (run_folder / "samples").mkdir()
    for name in ("samples.html", "samples.json", "samples/x_000120_00_7.png", "samples/x_base_00_7.png"):
        (run_folder / name).write_text("the run's own", encoding="utf-8")
    before = content(run_folder)
    request = Request(opened(bases["sd1"], tmp_path), (parse_line(LINE),), None, (lora,), fallback=tmp_path / "elsewhere")
    said: list[str] = []
    made = sample(request, said.append)
    now = content(run_folder)
    assert before.items() <= now.items() and made.page == run_folder / "compare.html" and not (tmp_path / "elsewhere").exists()
    assert sorted(now.keys() - before.keys()) == sorted(
        ["compare.html", *(path.relative_to(run_folder).as_posix() for path in made.pictures)]
    )
    links = re.findall(r'(?:src|href)="([^"]+)"', made.page.read_text(encoding="utf-8"))
    assert len(links) == 4 and all(link.startswith("compare/") for link in links)
    moved = run_folder.rename(tmp_path / "moved")
    assert all(picture.is_file() for _, pictures in rows(moved / "compare.html") for picture in pictures)
    assert not any("go to" in text for text in said)


def test_a_folder_that_refuses_is_told_and_another_taken(bases: dict[str, Path], tmp_path: Path) -> None:
    lora = write_lora(bases["sd1"], tmp_path / "run" / "x.safetensors")
    (tmp_path / "run" / "compare").write_text("a file in the way", encoding="utf-8")
    request = Request(opened(bases["sd1"], tmp_path), (parse_line(LINE),), None, (lora,), fallback=tmp_path / "elsewhere")
    said: list[str] = []
    made = sample(request, said.append)
    assert made.page == tmp_path / "elsewhere" / "compare.html"
    assert {path.parent for path in made.pictures} == {tmp_path / "elsewhere" / "compare"}
    told = f"{tmp_path / 'run' / 'compare'}: this is a file, and a folder is needed; the pictures go to {tmp_path / 'elsewhere'}"
    assert said.index(told) < said.index("encoding the prompts")
    with pytest.raises(UserError, match="a folder is needed") as caught:
        sample(dataclasses.replace(request, folder=tmp_path / "run"), said.append)
    assert "--out" in caught.value.hint


def test_files_of_one_name_are_two_rows_in_the_order_named(bases: dict[str, Path], tmp_path: Path) -> None:
    late = write_lora(bases["sd1"], tmp_path / "b" / "x.safetensors", step=900)
    early = write_lora(bases["sd1"], tmp_path / "a" / "x.safetensors", seed=2, step=10)
    twice = tmp_path / "b" / ".." / "b" / "x.safetensors"
    prompt = parse_line(LINE)
    request = Request(opened(bases["sd1"], tmp_path), (prompt, prompt), tmp_path / "out", (late, early, twice))
    said: list[str] = []
    made = sample(request, said.append)
    shown = rows(made.page)
    assert [name for name, _ in shown] == ["micro-sd, base model, strength 0", "b/x, step 900", "a/x, step 10"]
    assert len({picture for _, pictures in shown for picture in pictures}) == len(made.pictures) == 3  # two equal prompts are one column
    assert f"{twice}: this file was named before; it gets one row" in said


def test_rows_made_before_a_stop_are_kept(bases: dict[str, Path], tmp_path: Path) -> None:
    lora = write_lora(bases["sd1"], tmp_path / "x.safetensors")
    seen = 0

    def stop(picture: int, pictures: int, step: int, steps: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:  # in the second row
            raise KeyboardInterrupt

    request = Request(opened(bases["sd1"], tmp_path), (parse_line(LINE),), tmp_path / "out", (lora,))
    with pytest.raises(KeyboardInterrupt):
        sample(request, lambda text: None, stop)
    ((name, (picture,)),) = rows(tmp_path / "out" / "compare.html")
    assert name.startswith("micro-sd, base model") and picture.is_file()
    assert sample(request, lambda text: None).page.name == "compare_2.html"


def test_the_path_that_is_printed_is_absolute(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lora(bases["sd1"], tmp_path / "run" / "x.safetensors")
    words = ["--lora", "run/x.safetensors", "--prompt", LINE, "--pretrained_model_name_or_path", str(bases["sd1"]), "--device", "cpu"]
    assert main(["sample", *words, "--cache_dir", "cache"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 pictures: {tmp_path / 'run' / 'compare.html'}"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [row.name for row in samplers.SAMPLERS])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_pipelines_make_the_same_picture(bases: dict[str, Path], family: str, sampler: str) -> None:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    checkpoint, kind = recognise(bases[family]), models.get(family)
    nets = {part: kind.load(checkpoint, part, torch.float32, CPU) for part in kind.parts}
    shot = Shot("a cat on a mat", "bad", 128, 64, 42, 3, 7.5, sampler, False, 1.0)
    cond = encode(kind, nets, shot)
    (mine,) = decode(kind, nets["vae"], [generate(Sampled(kind, nets["unet"], CPU), shot, cond)], CPU)
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


@pytest.mark.parametrize(("family", "effect"), [("sd1", 2), ("sdxl", None)])
def test_a_clip_skip_without_effect_is_told(bases: dict[str, Path], tmp_path: Path, family: str, effect: int | None) -> None:
    base, told = open_base(str(bases[family]), tmp_path, clip_skip=2)
    assert base.clip_skip == effect
    assert [notice for notice in told if "clip_skip = 2 has no effect" in notice] == told[: 0 if effect else 1]
