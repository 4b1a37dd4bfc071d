"""What a user gets wrong, and what he is told: the file, the value, the remedy; exit status 1, no traceback, nothing half written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engine import environment, tensorfile
from engine.__main__ import main

Pictures = Callable[..., list[Path]]
Refused = Callable[..., str]
AsUser = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def data(tmp_path: Path, pictures: Pictures) -> Path:
    """A folder that can be trained on, in a place with spaces and Chinese characters."""
    pictures(tmp_path / "訓練 資料" / "2_sks cat", ((64, 64), (96, 64)), caption="sks cat, sitting")
    return tmp_path / "訓練 資料"


@pytest.fixture
def flags(tmp_path: Path, micro_sd: Path, data: Path) -> list[str]:
    """A run of two steps on the CPU that writes into `tmp_path` alone."""
    places = [f"--{name}_dir={tmp_path / name}" for name in ("output", "cache", "logging")]
    size = ["--resolution", "64", "--network_dim", "4", "--network_alpha", "4", "--max_train_steps", "2", "--device", "cpu"]
    return ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(data), *size, *places]


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """`refused("train", ...)`: the command in this process fails as it should; what it said."""
    monkeypatch.setattr(environment, "apply", lambda root: None)

    def run(*arguments: str) -> str:
        assert main(arguments) == 1
        said = capfd.readouterr().err
        assert said.startswith("error: ") and "Traceback" not in said
        assert not leftovers(tmp_path)
        assert not list(tmp_path.glob("output/*")), "a run that trained nothing leaves no folder"
        return said

    return run


def leftovers(folder: Path) -> list[Path]:
    """Files on the way to somewhere."""
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


# ---- pictures ------------------------------------------------------------------------------------------------------------------------


def _picture(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


PICTURES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "nothing there": (lambda folder: folder.mkdir(), ("no pictures found for train_data_dir; it is empty", "10_sks dog")),
    "an empty concept": (lambda folder: (folder / "10_x").mkdir(parents=True), ("`10_x` holds no pictures",)),
    "a folder too deep": (lambda folder: _picture(folder / "set" / "2_x" / "a.png"), ("`set` holds folders of its own", "name it as")),
    "another kind": (lambda folder: _picture(folder / "2_x" / "a.gif"), ("2_x/a.gif: save them as PNG or JPEG",)),
    "no number": (lambda folder: _picture(folder / "cat" / "a.png"), ("its name does not start with a number", "`10_cat`")),
    "no repeats": (lambda folder: _picture(folder / "0_cat" / "a.png"), ("`0_cat` in it says 0 repeats", "1 or more")),
    "cut short": (lambda folder: _cut(_picture(folder / "2_x" / "a.png")), ("a.png: it is cut short", "save or download it again")),
    "empty file": (lambda folder: _picture(folder / "2_x" / "a.png").write_bytes(b""), ("a.png: the file is empty",)),
    "no picture": (lambda folder: _picture(folder / "2_x" / "a.png").write_bytes(b"hello"), ("a.png: it is no picture but text",)),
    "a web page": (
        lambda folder: _picture(folder / "2_x" / "a.jpg").write_bytes(b"<!DOCTYPE html><html><title>Sign in</title></html>"),
        ("a.jpg: it is no picture but a web page", "download the picture itself"),
    ),
    "another kind inside": (
        lambda folder: _picture(folder / "2_x" / "b.gif").rename(folder / "2_x" / "a.png"),
        ("a.png: it is a GIF, which is not read here; save it as PNG or JPEG",),
    ),
    "too long": (lambda folder: _picture(folder / "2_x" / "a.png", (20000, 10)), ("20000 x 10 pixels", "cut the part you want")),
    "caption": (
        lambda folder: _picture(folder / "2_x" / "a.png").with_suffix(".txt").write_bytes(bytes(range(256))),
        ("a.txt: this caption is not text", "save it as UTF-8, or remove the file"),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(tmp_path: Path, flags: list[str], refused: Refused, name: str) -> None:
    make, words = PICTURES[name]
    make(tmp_path / "pictures")
    said = refused("train", *flags, "--train_data_dir", str(tmp_path / "pictures"))
    assert all(word in said for word in (*words, str(tmp_path / "pictures"))), said


@pytest.mark.parametrize("key", ["train_data_dir", "pretrained_model_name_or_path", "network_weights", "vae", "sample_prompts"])
def test_a_name_too_long_to_be_a_file(flags: list[str], refused: Refused, key: str) -> None:
    said = refused("train", *flags, f"--{key}", "x" * 300)
    assert "there is no such" in said or "there is no prompt file" in said or "does not exist" in said


def test_a_missing_folder_gets_the_nearest_name(data: Path, flags: list[str], refused: Refused) -> None:
    assert "Did you mean `訓練 資料`?" in refused("train", *flags, "--train_data_dir", str(data.with_name("訓練資料")))


# ---- base models ---------------------------------------------------------------------------------------------------------------------

Tensors = dict[str, torch.Tensor]


def _without(tensors: Tensors, part: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if part not in name}


def _only(tensors: Tensors, part: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if part in name}


MODELS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "a VAE": (lambda found: _only(found, "first_stage_model."), "this is a VAE alone\nhint: give it as `vae`"),
    "a U-Net": (lambda found: _only(found, "diffusion_model."), "this is a U-Net alone"),
    "without VAE": (lambda found: _without(found, "first_stage_model."), "has no vae"),
    "a tensor missing": (lambda found: _without(found, "input_blocks.1.1.transformer_blocks.0.attn1.to_q"), "misses 1 tensor: `model."),
    "a tensor too many": (lambda found: {**found, "model.diffusion_model.odd": torch.zeros(2)}, "has 1 tensor that a Stable Diffusion 1.x"),
    "FLUX": (lambda found: {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2)}, "a FLUX model, which is not supported yet"),
    "anything": (lambda found: {"some.thing": torch.zeros(2)}, "not a model that is known here"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_other_kinds(tmp_path: Path, micro_sd: Path, flags: list[str], refused: Refused, name: str) -> None:
    change, words = MODELS[name]
    path = tmp_path / "model 型.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in change(load_file(micro_sd)).items()}, path)
    said = refused("train", *flags, "--pretrained_model_name_or_path", str(path))
    assert words in said and f"error: {path}: " in said and "\nhint: " in said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.safetensors", b"", "the file is empty"),
        ("m.safetensors", b"<!DOCTYPE html><html><title>Sign in</title></html>", "this is a web page"),
        ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "Git LFS pointer"),
        ("m.ckpt", b"these are words", "neither a safetensors file nor a checkpoint of PyTorch"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, flags: list[str], refused: Refused, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refused("train", *flags, "--pretrained_model_name_or_path", str(tmp_path / name))


def test_a_download_that_broke_off(tmp_path: Path, micro_sd: Path, flags: list[str], refused: Refused) -> None:
    half = tmp_path / "half.safetensors"
    half.write_bytes(micro_sd.read_bytes()[: micro_sd.stat().st_size // 2])
    for command in ("train", "inspect"):
        words = flags if command == "train" else []
        said = refused(command, *words, *(["--pretrained_model_name_or_path"] if words else []), str(half))
        assert f"{half}: the file is incomplete: " in said and "download or copy the file again" in said


@pytest.mark.parametrize("key", ["pretrained_model_name_or_path", "vae"])
def test_a_hub_name_is_no_path(flags: list[str], refused: Refused, key: str) -> None:
    said = refused("train", *flags, f"--{key}", "stabilityai/sd-vae-ft-mse")
    assert "nothing is downloaded during a run" in said and f"{key} = models/<file>.safetensors" in said


def test_an_unusable_vae_or_lora_is_refused_before_pictures_are_encoded(
    tmp_path: Path, micro_sd: Path, micro_sdxl: Path, flags: list[str], refused: Refused
) -> None:
    assert "its VAE does not fit" in refused("train", *flags, "--vae", str(micro_sdxl))
    assert "network_weights = nowhere: there is no such file" in refused("train", *flags, "--network_weights", "nowhere")
    assert f"network_weights = {micro_sd}: this is not a LoRA file" in refused("train", *flags, "--network_weights", str(micro_sd))
    assert main(["train", *flags, "--output_name", "first"]) == 0
    lora = tmp_path / "first.safetensors"
    shutil.move(tmp_path / "output" / "first" / "first.safetensors", lora)
    shutil.rmtree(tmp_path / "output")
    shutil.rmtree(tmp_path / "cache")
    said = refused("train", *flags, "--network_dim", "8", "--network_weights", str(lora))
    assert f"network_weights = {lora}: " in said and "has rank 4 in the file and 8 in this run" in said
    assert "have no place here" in refused("train", *flags, "--network_train_unet_only", "--network_weights", str(lora))
    assert "this is a LoRA" in refused("train", *flags, "--pretrained_model_name_or_path", str(lora))
    assert not (tmp_path / "cache" / "latents").exists()


# ---- settings ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resolution", "100"], "--resolution: 100,100 is no multiple of 64 (bucket_reso_steps); the nearest is 128,128"),
        (["--device", "cuda:7"], "device: no NVIDIA card is usable here"),
        (["--mixed_precision", "fp16"], 'fp16 needs an NVIDIA card; this run is on the CPU\nhint: set mixed_precision = "no"'),
        (["--optimizer_type", "AdamW8bit"], "AdamW8bit needs an NVIDIA card; this run is on the CPU\nhint: use AdamW"),
        (["--network_train_unet_only", "--network_train_text_encoder_only"], "nothing is left to train; leave one of the two out"),
        (["--cache_text_encoder_outputs"], "text encoders that are trained cannot be cached"),
        (["--sample_every_n_epochs", "1"], "sample_prompts: sample pictures are asked for, but no prompts are given"),
        (["--learing_rate", "1", "--shufle_caption"], "--learing_rate: unknown option. Did you mean `--learning_rate`?"),
        (["--network_args", "conv_dimm=4"], "`conv_dimm` is no option of lora. Did you mean `conv_dim`?"),
        (["--network_dim", ""], "--network_dim: "),
        (["--config", "nowhere.toml"], "nowhere.toml: this file does not exist"),
        (["--random_crop"], "--random_crop: is not available yet"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_settings(flags: list[str], refused: Refused, arguments: list[str], words: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    assert words in refused("train", *flags, *arguments)


def test_commands_and_their_options(refused: Refused) -> None:
    assert "there is no command `trian`\nhint: Did you mean `train`?" in refused("trian")
    assert "`inspect` needs FILE ..." in refused("inspect")
    assert "nowhere.safetensors: there is no such file" in refused("inspect", "nowhere.safetensors")
    for words in (("--lora",), ("--prompt",), ("--lora", "a.safetensors", "--prompt"), ("--lora", "--prompt", "a cat"), ("--lora=",)):
        assert "needs a value: --" in refused("sample", *words)
    assert "--sheet: needs a value: --sheet FILE" in refused("check", "train_data/demo", "--sheet")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'vae = "C:\\Users\\me\\x.safetensors"\n', "bad.toml:1: this is not valid TOML"),
        (b'vae = "C:\\models\\x.safetensors"\n', "write paths as 'C:\\folder' or \"C:/folder\""),
        ("output_name = '測試'\n".encode("gbk"), "bad.toml:1: this file is not in UTF-8"),
        (b"[network]\nnetwork_dimm = 4\n", "bad.toml:2  network_dimm: unknown key. Did you mean `network_dim`?"),
        (b"shuffle_caption = True\n", "Write true or false in small letters"),
    ],
)
def test_files_of_settings(tmp_path: Path, flags: list[str], refused: Refused, content: bytes, words: str) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    assert words in refused("train", "--config", str(tmp_path / "bad.toml"), *flags)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a cat --w abc", "prompts.txt:1: `--w` is 'abc'; it takes a whole number"),
        (b"a cat\na dog --ss eulr", "prompts.txt:2: there is no sampler `eulr`\nhint: Did you mean `euler`?"),
        ("一隻可愛的貓在草地上".encode("gbk"), "prompts.txt:1: this file is not in UTF-8"),
        (b"# nothing but a comment\n", "there is no prompt in this file"),
    ],
)
def test_prompt_files(tmp_path: Path, flags: list[str], refused: Refused, content: bytes, words: str) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    assert words in refused("train", *flags, "--sample_prompts", str(tmp_path / "prompts.txt"))


# ---- training that goes wrong --------------------------------------------------------------------------------------------------------


def test_a_base_model_of_broken_numbers_is_named(
    tmp_path: Path, micro_sd: Path, flags: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    broken = load_file(micro_sd)
    name = next(name for name in broken if name.startswith("model.diffusion_model.") and name.endswith("weight"))
    broken[name] = torch.full_like(broken[name], float("nan"))
    save_file(broken, tmp_path / "nan.safetensors")
    assert main(["train", *flags, "--pretrained_model_name_or_path", str(tmp_path / "nan.safetensors")]) == 1
    said = capfd.readouterr().err
    assert "the loss was not a number from the first step on: the base model holds" in said and "no file had been saved yet" in said


def test_a_training_that_diverges_keeps_good_files_and_saves_no_bad_one(
    tmp_path: Path, flags: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training.optim import RateRule

    monkeypatch.setattr(RateRule, "at", lambda self, step: 1.0 if step < 3 else 1e33)
    more = ("--max_train_steps", "40", "--save_every_n_steps", "2", "--log_every_n_steps", "10", "--output_name", "far")
    assert main(["train", *flags, *more]) == 1
    said = capfd.readouterr().err
    kept = sorted((tmp_path / "output" / "far").glob("*.safetensors"))
    assert "lower the learning rate" in said and f"files of earlier steps are kept: {kept[0]}" in said
    for path in kept:
        assert all(bool(tensor.isfinite().all()) for tensor in tensorfile.read(path).values())
    assert "ended by: " in (tmp_path / "output" / "far" / "train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("error", [RuntimeError("the card fell off the bus"), torch.OutOfMemoryError("CUDA out of memory")])
def test_what_was_trained_outlives_an_error(
    tmp_path: Path, flags: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from engine.training.step import Step

    plain, steps = Step.__call__, []

    def fail_later(self: Step, batch: object) -> object:
        steps.append(batch)
        if len(steps) > 12:
            raise error
        return plain(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Step, "__call__", fail_later)
    command = ["train", *flags, "--max_train_steps", "30", "--output_name", "part"]
    if isinstance(error, torch.OutOfMemoryError):
        assert main(command) == 1
    else:
        with pytest.raises(RuntimeError, match="fell off the bus"):
            main(command)
    said = capfd.readouterr()
    saved = list((tmp_path / "output" / "part").glob("part-step*.safetensors"))
    assert len(saved) == 1 and f"is saved: {saved[0]}" in said.out
    if isinstance(error, torch.OutOfMemoryError):
        assert "the card's memory is full" in said.err and f"is saved: {saved[0]}" in said.err and "set gradient_checkpointing" in said.err


def test_ctrl_c_does_not_disturb_saving(
    tmp_path: Path, flags: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tensorfile.write

    def pressed(path: Path, *content: object) -> None:
        if path.name == "cat.safetensors":
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
        plain(path, *content)  # type: ignore[arg-type]

    monkeypatch.setattr(tensorfile, "write", pressed)
    monkeypatch.setattr("engine.training.stop._ONE_PRESS", 0.0)
    assert main(["train", *flags, "--output_name", "cat"]) == 0
    assert tensorfile.read(tmp_path / "output/cat/cat.safetensors")
    assert "the file is being written, a moment" in capfd.readouterr().out


# ---- disks that refuse ---------------------------------------------------------------------------------------------------------------


def _fill(disk: Path, leave: int) -> None:
    """Take up the disk but for `leave` bytes."""
    (disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(disk).free - leave))


def test_a_disk_without_room_for_the_lora_is_refused_before_training(small_disk: Path, flags: list[str], refused: Refused) -> None:
    _fill(small_disk, 65536)
    assert "this disk has 0.1 MiB free, and 0." in refused("train", *flags, "--output_dir", str(small_disk))
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_disk_that_fills_up_loses_no_training(
    tmp_path: Path, small_disk: Path, flags: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["train", *flags, "--output_dir", str(small_disk), "--max_train_steps", "8", "--save_every_n_steps", "1"]) == 1
    said = capfd.readouterr()
    assert "the disk is full; the file was not written" in said.out and "the training continues" in said.out
    saved = next(tmp_path.glob("lora-*/sks_cat.safetensors"))
    assert f"the LoRA was saved as {saved} instead" in said.err and "move it to where you want it" in said.err
    assert tensorfile.read(saved)
    assert not leftovers(small_disk)


def test_a_full_disk_ends_the_logs_and_not_the_training(
    tmp_path: Path, small_disk: Path, flags: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    _fill(small_disk, 0)
    more = ("--max_train_steps", "4", "--log_every_n_steps", "1", "--logging_dir", str(small_disk))
    assert main(["train", *flags, *more]) == 0
    said = capfd.readouterr()
    assert said.out.count("the run continues without it") == 1 and "TensorBoard's log" in said.out
    assert said.err == ""


@pytest.mark.parametrize("command", ["train", "cache"])
def test_a_full_disk_under_the_cache(tmp_path: Path, small_disk: Path, flags: list[str], refused: Refused, command: str) -> None:
    _fill(small_disk, 0)
    said = refused(command, *flags, "--cache_dir", str(small_disk))
    assert f"{small_disk}/index.sqlite3: the picture index cannot be written" in said and "`cache_dir`" in said


@pytest.mark.e2e
@pytest.mark.parametrize("place", ["output", "cache", "logging"])
def test_a_folder_that_may_not_be_written_to(tmp_path: Path, flags: list[str], as_user: AsUser, place: str) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    answer = as_user("-m", "engine", "train", *flags, f"--{place}_dir", str(tmp_path / "locked"))
    assert "Traceback" not in answer.stderr
    if place == "logging":
        assert answer.returncode == 0 and "cannot be written (Permission denied); the run continues without it" in answer.stdout
    else:
        assert answer.returncode == 1 and str(tmp_path / "locked") in answer.stderr and f"`{place}_dir`" in answer.stderr
    assert not leftovers(tmp_path)


@pytest.mark.e2e
def test_files_that_may_not_be_read(tmp_path: Path, micro_sd: Path, data: Path, flags: list[str], as_user: AsUser) -> None:
    model = tmp_path / "model.safetensors"
    shutil.copy(micro_sd, model)
    model.chmod(0)
    for command in (["inspect", str(model)], ["train", *flags, "--pretrained_model_name_or_path", str(model)]):
        answer = as_user("-m", "engine", *command)
        assert answer.returncode == 1 and f"error: {model}: this cannot be read (Permission denied)" in answer.stderr
    picture = data / "2_sks cat" / "0.png"
    picture.chmod(0)
    check = ["check", "--train_data_dir", str(data), "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "output")]
    assert "0.png: it cannot be opened (Permission denied)" in as_user("-m", "engine", *check).stdout
    picture.chmod(0o644)
    assert as_user("-m", "engine", *check).returncode == 0


@pytest.mark.e2e
def test_sample_looks_at_its_folder_first(tmp_path: Path, micro_sd: Path, as_user: AsUser) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "closed").mkdir(mode=0o000)
    for name in ("locked", "closed/inside"):
        command = ["sample", "--pretrained_model_name_or_path", str(micro_sd), "--prompt", "a cat --s 1", "--out", str(tmp_path / name)]
        answer = as_user("-m", "engine", *command)
        assert answer.returncode == 1 and "this place cannot be written to" in answer.stderr and "encoding" not in answer.stdout
        assert "hint: name another folder with --out" in answer.stderr


@pytest.mark.e2e
def test_sample_goes_elsewhere_where_the_lora_lies_locked(tmp_path: Path, flags: list[str], micro_sd: Path, as_user: AsUser) -> None:
    assert as_user("-m", "engine", "train", *flags, "--output_name", "鎖_run").returncode == 0
    locked, output = tmp_path / "output" / "鎖_run", tmp_path / "another output"
    locked.chmod(0o555)
    before = {path: path.read_bytes() for path in locked.rglob("*") if path.is_file()}
    command = ["sample", "--pretrained_model_name_or_path", str(micro_sd), "--lora", str(locked / "鎖_run.safetensors")]
    answer = as_user("-m", "engine", *command, "--prompt", "a cat --s 1 --w 64 --h 64", "--output_dir", str(output))
    place = output / "sample"
    told = f"{locked}: this place cannot be written to; the pictures go to {place}\n"
    assert answer.returncode == 0 and answer.stdout.index(told) < answer.stdout.index("encoding the prompts")
    assert answer.stdout.splitlines()[-1] == f"2 pictures: {place / 'compare.html'}"
    assert {path: path.read_bytes() for path in locked.rglob("*") if path.is_file()} == before


# ---- several runs, Ctrl-C ------------------------------------------------------------------------------------------------------------


def _start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """The engine, called from the product's folder."""
    return subprocess.Popen(
        [sys.executable, "-s", "-X", "utf8", "-u", "-m", "engine", *arguments],
        cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.e2e
def test_two_runs_at_once_get_two_folders(root: Path, tmp_path: Path, flags: list[str]) -> None:
    runs = [_start(root, "train", *flags, "--output_name", "twin") for _ in range(2)]
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert (tmp_path / "output/twin/twin.safetensors").is_file() and (tmp_path / "output/twin_2/twin_2.safetensors").is_file()
    assert len(list((tmp_path / "logging").iterdir())) == 2


PHASES = {  # the line after which Ctrl-C comes, with which settings; whether something was trained by then
    "caching": ("length  ", ["--vae_batch_size", "1"], False),
    "pictures of the base model": ("text is encoded", ["--sample_prompts", "PROMPTS"], False),
    "steps": ("step 10/", [], True),
    "pictures in the run": ("pictures of step 10 made", ["--sample_prompts", "PROMPTS", "--sample_every_n_steps", "10"], True),
}


@pytest.mark.e2e
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(root: Path, tmp_path: Path, pictures: Pictures, flags: list[str], phase: str, times: int) -> None:
    marker, more, trained = PHASES[phase]
    (tmp_path / "prompts.txt").write_text("a cat --w 64 --h 64 --s 12\n" * (40 if phase.endswith("model") else 2), encoding="utf-8")
    pictures(tmp_path / "many" / "1_cat", ((200, 160),) * 60)
    more = [word.replace("PROMPTS", str(tmp_path / "prompts.txt")) for word in more]
    length = ("--train_data_dir", str(tmp_path / "many"), "--max_train_steps", "100000", "--output_name", "cat", "--learning_rate", "1e-6")
    run = _start(root, "train", *flags, *length, *more)
    assert run.stdout is not None
    text = ""
    while line := run.stdout.readline():
        text += line
        if line.startswith(marker):
            break
    for _ in range(times):
        run.send_signal(signal.SIGINT)
    text += run.communicate(timeout=120)[0]
    assert "Traceback" not in text and not leftovers(tmp_path), text
    saved = list((tmp_path / "output").rglob("*.safetensors"))
    assert bool(saved) == trained, text
    assert ("what was trained is saved" if trained else "stopped; what was cached or saved before is kept") in text
    assert trained or not (tmp_path / "output" / "cat").exists()
    assert run.returncode in ((130,) if times == 1 else (130, -signal.SIGINT))


@pytest.mark.e2e
def test_any_current_folder_and_relative_paths(root: Path, tmp_path: Path, micro_sd: Path, data: Path) -> None:
    place = tmp_path / "某 處"
    place.mkdir()
    shutil.copy(micro_sd, place / "模型 一.safetensors")
    words = ["--pretrained_model_name_or_path", "模型 一.safetensors", "--train_data_dir", os.path.relpath(data, place)]
    words += ["--resolution", "64", "--max_train_steps", "2", "--device", "cpu", "--network_dim", "4"]
    words += ["--output_name", "貓 一", "--cache_dir", "快取", "--output_dir", "輸出", "--logging_dir", "日誌"]
    command = [sys.executable, "-s", "-X", "utf8", "-m", "engine", "train", *words]
    answer = subprocess.run(
        command, cwd=place, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert f"file         {place / '輸出' / '貓_一' / '貓_一.safetensors'}" in answer.stdout
