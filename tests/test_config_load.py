"""From files and command lines to one Config: who wins, where values came from, and what is said of mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.adapters import METHODS
from engine.config import flags
from engine.config.field import setting
from engine.config.known import known
from engine.config.load import Loaded, load
from engine.config.problems import ConfigError
from engine.config.rows import Rows
from engine.config.schema import Config
from engine.diffusion.samplers import SAMPLERS
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES

ROWS = Rows(METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, required: tuple[str, ...] = ()) -> Loaded:
    return load(flags.split(words).sources, ROWS, required)


def problems(*words: str, required: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run(*words, required=required)
    return [str(problem) for problem in caught.value.problems]


def test_nothing_given_is_the_defaults() -> None:
    loaded = run()
    assert loaded.notices == ()
    assert loaded.config.network.network_module == "lora"  # the row's own name
    assert loaded.config.data == Config().data
    assert not any(origin.given for origin in loaded.origins.values())
    assert str(loaded.origins["seed"]) == "default"


def test_later_sources_win_and_every_value_knows_where_it_came_from() -> None:
    Path("one.toml").write_text("network_dim = 8\nseed = 1\n[any_section]\nlearning_rate = '5e-5'\nunet_lr = 1\n", encoding="utf-8")
    Path("two.toml").write_text("[network]\nnetwork_dim = 16\nnetwork_alpha = 8\n", encoding="utf-8")
    words = ["--network_alpha=2", "--config", "one.toml", "--config_file", "two", "--set", "unet_lr=2e-4", "log_prefix=a=b"]
    loaded = run(*words)
    config = loaded.config
    assert (config.network.network_dim, config.network.network_alpha, config.training.seed) == (16, 2.0, 1)
    assert (config.optimizer.learning_rate, config.optimizer.unet_lr, config.log.log_prefix) == (5e-5, 2e-4, "a=b")
    where = {key: str(loaded.origins[key]) for key in ("network_dim", "network_alpha", "seed", "learning_rate", "unet_lr")}
    assert where == {
        "network_dim": "two.toml:2",
        "network_alpha": "--network_alpha",
        "seed": "one.toml:2",
        "learning_rate": "one.toml:4",
        "unet_lr": "--set unet_lr",
    }


PASTED = """
--enable_bucket --pretrained_model_name_or_path=./sd-models/model.ckpt --train_data_dir ./train/miku --resolution=512,512
--network_module=networks.lora --network_args conv_dim=4 conv_alpha=1 --max_train_epochs=12 --learning_rate=1e-4
--lr_scheduler=cosine_with_restarts --lr_warmup_steps=0 --optimizer_type=adamw8bit --optimizer_args weight_decay=0.1 betas=0.9,0.95
--network_dim=32 --mixed_precision=bf16 --cache_latents --clip_skip=2 --xformers --shuffle_caption --persistent_data_loader_workers
--text_encoder_lr 1e-5 --caption_extention=.txt --sample_sampler k_euler_a
"""


def test_the_options_of_a_command_line_of_sd_scripts() -> None:
    loaded = run(*PASTED.split(), "--caption_prefix=best quality, --not an option")
    config = loaded.config
    assert config.data.resolution == (512, 512)
    assert config.network.network_args == {"conv_dim": 4, "conv_alpha": 1.0}
    assert config.optimizer.optimizer_type == "AdamW8bit"
    assert config.optimizer.optimizer_args == {"weight_decay": 0.1, "betas": (0.9, 0.95)}
    assert config.optimizer.text_encoder_lr == 1e-5
    assert config.data.shuffle_caption and config.training.xformers
    assert config.data.caption_prefix == "best quality, --not an option"
    assert config.sample.sample_sampler == "euler_a"
    assert loaded.notices == ("command line  --persistent_data_loader_workers: has no effect here; pictures are read by threads that stay",)


def test_all_problems_are_told_at_once() -> None:
    Path("miku.toml").write_text(
        "[network]\nnetwork_dim = 'many'\nlearing_rate = 1e-4\nnetwork_args = ['conv_dmi=4']\n"
        "network_train_unet_only = 'maybe'\nmixed_precision = 'bf61'\nvae = \"C:\\train\"\nresolution = 500\nin_json = 'a.json'\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        run("--config", "miku.toml", "--max_train_steps", "0", "--nework_dim", "8", "--set", "seeed=1", "--optimizer_type", "AdamV")
    assert (
        str(caught.value)
        == """12 problems in the settings
  miku.toml:2  network_dim: `many` is not a whole number
  miku.toml:3  learing_rate: unknown key. Did you mean `learning_rate`?
  miku.toml:4  network_args: `conv_dmi` is no option of lora. Did you mean `conv_dim`?
  miku.toml:5  network_train_unet_only: `maybe` is neither true nor false
  miku.toml:6  mixed_precision: `bf61` is not one of no, fp16, bf16. Did you mean `bf16`?
  miku.toml:7  vae: 'C:\\train' has a control character in it: inside "..." a backslash begins an escape; write '...' instead, or / for \\
  miku.toml:8  resolution: 500,500 is no multiple of 64 (bucket_reso_steps); the nearest is 512,512
  miku.toml:9  in_json: is not available yet; write caption files beside the pictures
  command line  --nework_dim: unknown option. Did you mean `--network_dim`?
  command line  --set seeed: unknown key. Did you mean `seed`?
  command line  --max_train_steps: 0 is too small; at least 1
  command line  --optimizer_type: `AdamV` is not known. Did you mean `AdamW`?"""
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--network_dim", "--network_dim: a whole number is missing"),
        ("--output_name", "--output_name: a text is missing"),
        ("--network_dim=", "--network_dim: a whole number is missing: the value is empty"),
        ("--learning_rate=", "--learning_rate: a number is missing: the value is empty"),
        ("--xformers=", "--xformers: true or false is missing: the value is empty"),
        ("--lr_scheduler=", "--lr_scheduler: the value is empty; known are constant, constant_with_warmup, linear, cosine, "
         "cosine_with_restarts, polynomial"),
        ("--save_model_as=", "--save_model_as: the value is empty; it is safetensors"),
        ("--output_name my lora", "lora: belongs to no option: --output_name takes one value; one with spaces stands between quotes: "
         '--output_name "my lora"'),
        ("--learning_rate nan", "--learning_rate: `nan` is not a finite number"),
        ("--network_dim 1.5", "--network_dim: `1.5` is not a whole number"),
        ("--clip_skip 13", "--clip_skip: 13 is outside 1 to 12"),
        ("--resolution 512,512,512", '--resolution: `512,512,512` is not a size; write 512, "512,768" or [512, 768]'),
        ("--resolution 32", "--resolution: 32 pixels is too small; at least 64"),
        ("--lr_warmup_steps 100% --lr_scheduler linear", "--lr_warmup_steps: `100%` is not below 100 %"),
        ("--text_encoder_lr 1e-5 2e-5", "--text_encoder_lr: a rate for each text encoder (`1e-5, 2e-5`) does not work yet; "
         "write one (sd-scripts used `1e-5` for both)"),
        ("--alpha_background white", "--alpha_background: `white` is not a colour; write it as `#ffffff`"),
        ("--device gpu", "--device: `gpu` is not a device; write `cpu`, `cuda`, or `cuda:1` for the second GPU"),
        ("--max_token_length 100", "--max_token_length: `100` is not one of 75, 150, 225"),
        ("--network_args conv_dim", '--network_args: `conv_dim` is not `name=value`; write ["conv_dim=4", "conv_alpha=1"]'),
        ("--network_args conv_dim=1 conv_dim=2", "--network_args: `conv_dim` is named twice"),
        ("--network_args conv_dim=x", "--network_args: conv_dim: `x` is not a whole number"),
        ("--optimizer_args betas=0.9", "--optimizer_args: betas: 2 numbers are expected, here are 1"),
        ("--batch_size 2", "--batch_size: outside a dataset file this is called `train_batch_size`"),
        ("--class_tokens x", "--class_tokens: this key belongs to a dataset file, under [general], [[datasets]] or [[datasets.subsets]]"),
        ("--zzzz", "--zzzz: unknown option. `python -m engine config` lists all"),
        ("--set zzzz=1", "--set zzzz: unknown key. `configs/reference.toml` lists all"),
        ("--set seed", "--set seed: write --set key=value"),
        ("--config", "--config: the name of a file is missing"),
        ("--sample_sampler eulr", "--sample_sampler: `eulr` is not known. Did you mean `euler`?"),
        ("network_dim=32 --seed 1", "network_dim=32: options begin with two dashes; write --network_dim 32"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line(words: str, said: str) -> None:
    assert problems(*words.split()) == [f"command line  {said}"]


def test_mistakes_of_a_file() -> None:
    Path("a.toml").write_text(
        "seed = 1\n[x]\nseed = 2\n[x.y]\nz = 1\n[general]\nconfig_file = 'b.toml'\nseed2 = {a = 1}\nnetwork_dim = {a = 1}\n",
        encoding="utf-8",
    )
    assert problems("--config", "a.toml", "--config", "gone.toml") == [
        "a.toml:3  seed: it stands in this file twice; the other is in line 1",
        "a.toml:4  x.y: a section holds keys, not further sections",
        "a.toml:7  config_file: a file of settings cannot name another; give both on the command line",
        "a.toml:8  general.seed2: a section holds keys, not further sections",
        "a.toml:9  network_dim: a whole number is expected, here is a table",
        "gone.toml: this file does not exist. Check the path; it counts from the current folder; --config names it",
    ]
    Path("b.toml").write_text("seed = \n", encoding="utf-8")
    said = "b.toml:1: this is not valid TOML: invalid value. See toml.io for the rules; --config names it"
    assert problems("--config", "b.toml") == [said]


def test_an_unreadable_file_is_the_one_mistake() -> None:
    """It may hold everything that the command needs, so nothing else is said to be missing."""
    said = problems("--config", "gone.toml", required=("pretrained_model_name_or_path", "train_data_dir"))
    assert said == ["gone.toml: this file does not exist. Check the path; it counts from the current folder; --config names it"]


def test_values_are_read_leniently_where_their_meaning_is_plain() -> None:
    Path("a.toml").write_text(
        "learning_rate = '1e-4'\nnetwork_alpha = 8\nmax_train_steps = 1e3\nenable_bucket = 0\nshuffle_caption = 'True'\nvae = ''\n"
        "save_every_n_steps = 0\nsample_every_n_epochs = -1\nnoise_offset = 0.0\nclip_skip = 'None'\ntext_encoder_lr = [5e-5, 5e-5]\n"
        "resolution = [512, 768]\noutput_name = 2024\nlr_warmup_steps = '5%'\nlr_scheduler = 'cosine'\nlogging_dir = ''\n"
        "network_args = {conv_dim = 4}\noptimizer_args = []\nmetadata_tags = ''\ndevice = 'CUDA:1'\nnetwork_module = 'networks.lora'\n",
        encoding="utf-8",
    )
    config = run("--config", "a.toml").config
    assert config.optimizer.learning_rate == 1e-4 and config.optimizer.text_encoder_lr == 5e-5
    assert config.training.max_train_steps == 1000 and isinstance(config.training.max_train_steps, int)
    assert isinstance(config.network.network_alpha, float) and config.network.network_args == {"conv_dim": 4}
    assert (config.data.enable_bucket, config.data.shuffle_caption, config.data.resolution) == (False, True, (512, 768))
    assert (config.model.vae, config.model.clip_skip, config.save.metadata_tags, config.log.logging_dir) == (None, None, None, None)
    assert (config.save.save_every_n_steps, config.sample.sample_every_n_epochs, config.objective.noise_offset) == (None, None, None)
    assert config.save.output_name == "2024" and config.training.device == "cuda:1" and config.network.network_module == "lora"
    assert config.optimizer.lr_warmup_steps == 0.05 and config.optimizer.warmup(1000) == 50


def test_what_a_command_needs_is_asked_for_with_the_rest() -> None:
    assert problems("--seed", "x", required=("pretrained_model_name_or_path", "train_data_dir")) == [
        "command line  --seed: `x` is not a whole number",
        "settings  pretrained_model_name_or_path: is not set: base model: a .safetensors or .ckpt file, or a diffusers folder "
        "(nothing is downloaded)",
        "settings  train_data_dir: is not set: folder that holds the `<repeats>_<name>` folders of pictures",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--network_train_unet_only --network_train_text_encoder_only",
         "--network_train_text_encoder_only: with network_train_unet_only nothing is left to train; leave one of the two out"),
        ("--min_timestep 500 --max_timestep 500",
         "--min_timestep: min_timestep, 500, must be below max_timestep, 500; for a single timestep set 500 and 501"),
        ("--dim_from_weights", "--dim_from_weights: needs network_weights, the file to take dim and alpha from"),
        ("--lr_warmup_steps 10",
         "--lr_warmup_steps: the schedule `constant` has no warm-up; set lr_scheduler to constant_with_warmup, or this to 0"),
        ("--cache_latents=false --cache_latents_to_disk", "--cache_latents_to_disk: contradicts cache_latents = false; leave one out"),
        ("--cache_text_encoder_outputs=false --cache_text_encoder_outputs_to_disk",
         "--cache_text_encoder_outputs_to_disk: contradicts cache_text_encoder_outputs = false; leave one out"),
        ("--cache_text_encoder_outputs", "--cache_text_encoder_outputs: text encoders that are trained cannot be cached; "
         "set network_train_unet_only too, or leave this out"),
        ("--output_dir=", "--output_dir: is empty; name a folder, or leave it out"),
        ("--cache_dir=", "--cache_dir: is empty; name a folder, or leave it out"),
        ("--reg_data_dir reg", "--reg_data_dir: there are regularisation pictures but no train_data_dir"),
        ("--resolution 500,770", "--resolution: 500,770 is no multiple of 64 (bucket_reso_steps); the nearest is 512,768"),
        ("--bucket_reso_steps 48", "--bucket_reso_steps: 48 is no multiple of 32; the nearest is 64"),
        ("--max_bucket_reso 512 --resolution 768", "--max_bucket_reso: 512 is below the resolution; set it to 768 or more"),
        ("--min_bucket_reso 640 --resolution 512,768", "--min_bucket_reso: 640 is above the resolution; set it to 512 or less"),
        ("--min_bucket_reso 640 --max_bucket_reso 512",
         "--max_bucket_reso: 512 is below min_bucket_reso, 640; raise it, or leave one of them out"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(words: str, said: str) -> None:
    assert problems(*words.split()) == [f"command line  {said}"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--network_train_unet_only --text_encoder_lr 1e-5",
         "--text_encoder_lr: is not used: network_train_unet_only leaves the text encoders as they are"),
        ("--network_train_text_encoder_only --unet_lr 1e-5",
         "--unet_lr: is not used: network_train_text_encoder_only leaves the U-Net as it is"),
        ("--text_encoder_lr 0",
         "--text_encoder_lr: is 0, so the text encoders cost time and learn nothing; network_train_unet_only leaves them out"),
        ("--max_train_epochs 2 --max_train_steps 10", "--max_train_steps: is not used: max_train_epochs says how long the run is"),
        ("--max_train_steps 10 --lr_warmup_steps 10 --lr_scheduler cosine",
         "--lr_warmup_steps: the warm-up is as long as the run (10 steps)"),
        ("--dim_from_weights --network_weights a.safetensors --network_dim 4",
         "--network_dim: is not used: dim_from_weights takes it from the file"),
        ("--xformers --sdpa", "--sdpa: is not used where xformers works, which wins"),
        ("--save_last_n_epochs 2", "--save_last_n_epochs: is not used: save_every_n_epochs is not set"),
        ("--sample_every_n_steps 5", "--sample_every_n_steps: is not used: sample_prompts names no file of prompts"),
        ("--sample_every_n_steps 5 --sample_every_n_epochs 1 --sample_prompts p.txt",
         "--sample_every_n_steps: is not used: sample_every_n_epochs wins"),
        ("--zero_terminal_snr --v_parameterization=false",
         "--zero_terminal_snr: goes with v_parameterization; a model that predicts noise learns nothing at the last timestep"),
    ],
)  # fmt: skip
def test_contradictions_that_cancel_out_are_notices(words: str, said: str) -> None:
    assert run(*words.split()).notices == (f"command line  {said}",)


def test_a_rule_is_silent_where_its_values_could_not_be_read() -> None:
    assert problems("--min_timestep", "x", "--max_timestep", "1", "--resolution", "y", "--bucket_reso_steps", "48") == [
        "command line  --min_timestep: `x` is not a whole number",
        'command line  --resolution: `y` is not a size; write 512, "512,768" or [512, 768]',
    ]


def test_a_command_keeps_its_own_options() -> None:
    line = flags.split(["--out", "a b.png", "--all", "--seed", "3", "--out", "c", "--size", "1", "--size=2"], known(Own, settings=True))
    assert line.own == {"out": ("a b.png", "c"), "all": True, "size": 2}
    assert load(line.sources, ROWS).config.training.seed == 3


@dataclass(frozen=True)
class Own:
    """Options of a command."""

    out: tuple[str, ...] = setting((), "files", kind="path", behind="FILE")
    all: bool = setting(False, "all of them")
    size: int = setting(8, "in pixels", low=1)
    parts: tuple[str, ...] = setting((), "parts", choices=("one", "two"), alone=("one", "two"))


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--parts"], ("one", "two")),
        (["--parts", "two"], ("two",)),
        (["--parts=TWO,one"], ("two", "one")),
        (["--parts", "two", "one,two"], ("two", "one")),
        (["--all=false"], False),
        (["--all", "true"], True),
        (["--size", "1e2"], 100),
    ],
)
def test_values_of_a_commands_own_options_are_read_as_settings_are(words: list[str], value: object) -> None:
    line = flags.split(words, known(Own))
    assert list(line.own.values()) == [value] and line.problems == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "0"], "0 is too small; at least 1"),
        (["--size="], "needs a value: --size NUMBER"),
        (["--out", "a", ""], "needs a value: --out FILE ..."),
        (["--out", "a\tb"], "has a control character in it"),
        (["--parts="], "needs a value: --parts [TEXT ...]"),
        (["--parts", "tow"], "`tow` is not one of one, two. Did you mean `two`?"),
    ],
)
def test_a_wrong_value_of_a_commands_own_option_is_told(words: list[str], said: str) -> None:
    (problem,) = flags.split(words, known(Own)).problems
    assert said in problem.message and problem.origin.flag == words[0].partition("=")[0]
