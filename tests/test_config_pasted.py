"""A pasted command line of sd-scripts: its launcher, the defaults that it relies on, and the scripts that are not LoRA training's."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from engine.__main__ import COMMANDS
from engine.adapters import METHODS
from engine.config import flags, handover, options, sd_scripts
from engine.config.field import SAME, Ours
from engine.config.keys import keys_of, run_keys
from engine.config.known import SETTINGS, Known
from engine.config.load import Loaded, load
from engine.config.pasted import OURS, SD_DEFAULT
from engine.config.problems import ConfigError
from engine.config.report import dump, report
from engine.config.rows import Rows
from engine.config.words import parse
from engine.diffusion.samplers import SAMPLERS
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES

ROWS = Rows(METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)
OLD_LINES = Path(__file__).parent / "data/old_lines.txt"
LAUNCH = "accelerate launch --num_cpu_threads_per_process 1 train_network.py"
DATASET = "[general]\nresolution = 512\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'pictures'\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in a folder with the dataset file that the lines name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset.toml").write_text(DATASET, encoding="utf-8")
    return tmp_path


def run(words: list[str], script: handover.Script | None = None) -> Loaded:
    return load(flags.split(words, SETTINGS, script).sources, ROWS)


def pasted(words: str) -> Loaded:
    return run(shlex.split(words))


def problems(words: list[str], script: handover.Script | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run(words, script)
    return [str(problem).removeprefix("command line  ") for problem in caught.value.problems]


def values(loaded: Loaded) -> dict[str, object]:
    return {key.name: getattr(getattr(loaded.config, key.section), key.name) for key in run_keys().values()}


def as_cmd(line: str) -> list[str]:
    """The words of a line as cmd takes it apart: single quotes are letters like others."""
    return [re.sub('"', "", word) for word in re.findall(r'(?:[^\s"]|"[^"]*")+', line)]


def behind(words: list[Any], variables: dict[str, object]) -> handover.Script:
    """A front script with these variables, and the words behind its name."""
    lines = "".join(f"${name} = {json.dumps(value)}\n" for name, value in variables.items())
    Path("train.ps1").write_text(lines, encoding="utf-8-sig")
    handed = {"script": "train.ps1", "command": "train", "edition": "Core", "variables": variables, "arguments": words}
    return handover.read(json.dumps(handed))


# What each line gives: the settings that it leaves to sd-scripts' defaults, or the options that are refused, with the reason's beginning.
NOT_YET = "is not available yet; "
GIVES: dict[str, tuple[str, ...] | dict[str, str]] = {
    "W01": ("enable_bucket", "network_dim", "network_alpha", "save_precision"),
    "W02": ("enable_bucket", "network_dim", "network_alpha", "save_precision"),
    "W03": (),
    "W04": ("enable_bucket",),
    "W05": ("enable_bucket", "sample_sampler"),
    "W06": ("enable_bucket",),
    "W07": {"adaptive_noise_scale": "leave it out"},
    "W08": {"full_fp16": "the adapter stays fp32"},
    "W09": ("network_alpha", "save_precision"),
    "W10": {"fp8_base": "gradient_checkpointing saves memory too"},
    "W11": ("enable_bucket",),
    "W12": {"multires_noise_iterations": "leave it out", "adaptive_noise_scale": "leave it out"},
    "W13": ("enable_bucket", "network_dim", "save_precision"),
    "W14": {
        "save_state": "`network_weights` continues",
        "random_crop": "crops are centred",
        "color_aug": "leave it out",
        "in_json": "write caption files",
    },
}
LINES = dict(line.rstrip("\n").split(" | ", 1) for line in OLD_LINES.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))


def test_every_old_line_is_in_the_table() -> None:
    assert list(GIVES) == list(LINES)


@pytest.mark.parametrize("split", [shlex.split, as_cmd], ids=["bash", "cmd"])
@pytest.mark.parametrize("number", LINES)
def test_an_old_line_is_read_whole(number: str, split: Callable[[str], list[str]]) -> None:
    """It is accepted with what it leaves out told, or refused for nothing but what is not there yet."""
    words, gives = split(LINES[number]), GIVES[number]
    script = next(at for at, word in enumerate(words) if word.endswith(".py"))
    variables: dict[str, object] = {"pretrained_model": "a.safetensors", "network_alpha": 16, "max_token_length": 225, "network_dim": 32}
    if isinstance(gives, dict):
        for said in (problems(words), problems([], behind(words, variables))):
            assert [text.partition(": ")[0] for text in said] == [f"--{name}" for name in gives]
            assert all(reason in text and NOT_YET in text for text, reason in zip(said, gives.values(), strict=True))
        return
    loaded = run(words)
    assert loaded.notices[0] == f"left out: {' '.join(words[: script + 1])}"
    told = [notice for notice in loaded.notices if notice.startswith("as in sd-scripts")]
    assert [part.split()[0] for line in told for part in line.partition(": ")[2].split(", ")] == list(gives)
    through = run([], behind(words, variables))
    assert through.config == loaded.config
    assert loaded.config.model.pretrained_model_name_or_path == "model.safetensors"


def test_a_line_trains_as_strongly_as_in_sd_scripts() -> None:
    network = pasted(f"{LAUNCH} --network_dim=128").config.network
    assert (network.network_dim, network.network_alpha) == (128, 1.0)
    ours = pasted("--network_dim=128").config.network
    assert (ours.network_dim, ours.network_alpha) == (128, 16.0)


def test_what_is_left_out_is_as_in_sd_scripts_or_ours() -> None:
    """The schema says which. Ours is what does not change what is learnt or saved, and what the base model's file says."""
    loaded = pasted(LAUNCH)
    differs = {name: key for name, key in run_keys().items() if key.meta.sd_default is not SAME}
    ours = {name for name, key in differs.items() if isinstance(key.meta.pasted, Ours)}
    assert ours == {
        "v_parameterization", "zero_terminal_snr", "network_module", "seed", "mixed_precision", "sdpa", "output_dir", "logging_dir",
        "log_with", "cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk",
        "caption_extension",
    }  # fmt: skip
    expected = values(run([])) | {name: key.meta.sd_default for name, key in differs.items() if name not in ours}
    assert values(loaded) == expected | {"caption_extension": ".caption,.txt"}
    assert {name for name in differs if loaded.origins[name] is SD_DEFAULT} == set(differs) - ours
    assert {name for name in differs if loaded.origins[name] is OURS} == {"caption_extension"}
    assert all(key.meta.pasted is SAME or isinstance(key.meta.pasted, Ours) for key in run_keys().values())
    assert loaded.notices == (
        f"left out: {LAUNCH}",
        "as in sd-scripts, since the line does not name them: enable_bucket false, network_dim 4, "
        'network_alpha 1, learning_rate 2e-06, save_precision ""',
        "not as in sd-scripts: v_parameterization and zero_terminal_snr (what the base model's file says), "
        "caption_extension .caption,.txt (a .txt is read where there is no .caption), mixed_precision (the best the device has)",
    )


@pytest.mark.parametrize(
    ("words", "more", "fewer"),
    [
        ("--sample_prompts p.txt", "sample_sampler", ""),
        ("--enable_bucket", "min_bucket_reso max_bucket_reso", "enable_bucket"),
        ("--enable_bucket --bucket_no_upscale", "", "enable_bucket"),
        ("--network_weights a.safetensors --dim_from_weights", "", "network_dim network_alpha"),
        ("--unet_lr 1e-4", "", ""),
        ("--unet_lr 1e-4 --text_encoder_lr 1e-5", "", "learning_rate"),
    ],
)
def test_a_default_that_has_no_effect_is_not_told(words: str, more: str, fewer: str) -> None:
    def told(line: str) -> set[str]:
        (said,) = [notice for notice in pasted(line).notices if notice.startswith("as in sd-scripts")]
        return {part.split()[0] for part in said.partition(": ")[2].split(", ")}

    assert told(f"{LAUNCH} {words}") == (told(LAUNCH) | set(more.split())) - set(fewer.split())


def test_what_was_named_is_not_told_again() -> None:
    named = " ".join(
        f"--{name}={value}"
        for name, value in {"v_parameterization": "true", "zero_terminal_snr": "true", "mixed_precision": "no", "enable_bucket": "true",
                            "min_bucket_reso": 256, "max_bucket_reso": 1024, "caption_extension": ".txt", "network_dim": 8,
                            "network_alpha": 8, "learning_rate": 1, "save_precision": "fp16", "sample_sampler": "euler"}.items()
    )  # fmt: skip
    assert pasted(f"{LAUNCH} {named}").notices == (f"left out: {LAUNCH}",)


def test_the_list_of_settings_and_the_file_of_a_run_hold_the_defaults() -> None:
    loaded = pasted(f"{LAUNCH} --network_dim=128 --dataset_config dataset.toml")
    (line,) = [line for line in report(loaded).splitlines() if line.startswith("  network_alpha")]
    assert line.split(maxsplit=3) == ["network_alpha", "=", "1.0", "sd-scripts' default, as the line was pasted   (sd-scripts: 1.0)"]
    (line,) = [line for line in report(loaded).splitlines() if line.startswith("  caption_extension")]
    said = """not sd-scripts' default, though the line was pasted   (sd-scripts: ".caption")"""
    assert line.split(maxsplit=3)[2:] == ['".caption,.txt"', said]
    Path("settings.toml").write_text(dump(loaded.config), encoding="utf-8")
    assert run(["--config", "settings.toml"]).config == loaded.config


def test_a_file_that_the_line_names_counts() -> None:
    Path("old.toml").write_text("network_alpha = 64\n[any]\nlearning_rate = 1e-4\ncaption_extension = '.txt'\n", encoding="utf-8")
    loaded = pasted(f"{LAUNCH} --config_file old --network_dim=128")
    assert (loaded.config.network.network_alpha, loaded.config.optimizer.learning_rate) == (64, 1e-4)
    assert str(loaded.origins["network_alpha"]) == "old.toml:1"
    told = next(notice for notice in loaded.notices if notice.startswith("as in sd-scripts"))
    assert "network_alpha" not in told and "learning_rate" not in told and "enable_bucket false" in told


def test_a_dataset_file_that_the_line_names_gets_the_defaults_below_its_own_keys() -> None:
    Path("two.toml").write_text(
        "[general]\ncaption_extension = '.cap'\n[[datasets]]\nresolution = 512\nenable_bucket = true\nmin_bucket_reso = 320\n"
        "[[datasets.subsets]]\nimage_dir = 'a'\n[[datasets]]\nresolution = 768\n[[datasets.subsets]]\nimage_dir = 'b'\n",
        encoding="utf-8",
    )
    loaded = pasted(f"{LAUNCH} --dataset_config two.toml")
    first, second = loaded.config.data.datasets
    buckets = [(one.options.enable_bucket, one.options.min_bucket_reso, one.options.max_bucket_reso) for one in (first, second)]
    assert buckets == [(True, 320, 1024), (False, 256, 1024)]
    assert {subset.options.caption_extension for one in (first, second) for subset in one.subsets} == {".cap"}
    told = next(notice for notice in loaded.notices if notice.startswith("as in sd-scripts"))
    assert "max_bucket_reso 1024" in told and "caption_extension" not in told and "enable_bucket" not in told
    ours = run(["--dataset_config", "two.toml"]).config.data.datasets
    assert [one.options.enable_bucket for one in ours] == [True, True]


def test_a_limit_of_sd_scripts_that_does_not_fit_is_told_as_such() -> None:
    assert problems(shlex.split(f"{LAUNCH} --enable_bucket --resolution 1280")) == [
        "sd-scripts' default, as the line was pasted  max_bucket_reso: 1024 is below the resolution; set it to 1280 or more"
    ]


@pytest.mark.parametrize(
    "launcher",
    [
        "accelerate launch train_network.py",
        "accelerate launch --num_cpu_threads_per_process=8 --config_file acc.yaml --gradient_accumulation_steps 2 train_network.py",
        "accelerate launch --mixed_precision fp16 --dynamo_backend no --num_processes 1 --num_machines=1 SDXL_Train_Network.PY",
        "python -m accelerate.commands.launch --num_cpu_threads_per_process=8 sdxl_train_network.py",
        "python venv/lib/python3.10/site-packages/accelerate/commands/launch.py --num_processes 1 train_network.py",
        "python train_network.py",
        "python3.10 -s -X utf8 ./sd-scripts/train_network.py",
        "py -3.10 train_network.py",
        "train_network.py",
        "./sd-scripts/train_network.py",
        r"D:\sd-scripts\sdxl_train_network.py",
        r".\venv\Scripts\python.exe .\train_network.py",
        r".\venv\Scripts\accelerate.exe launch --num_processes 1 .\sdxl_train_network.py",
        r"D:\my~1\venv\Scripts\accelerate.EXE launch .\train_network.py",
        "sudo nice accelerate launch train_network.py",
        "sudo -E accelerate launch train_network.py",
        "conda run -n kohya accelerate launch --num_processes 1 train_network.py",
        "conda run --no-capture-output -n kohya python train_network.py",
        "torchrun --nproc_per_node=1 train_network.py",
    ],
)
def test_a_launcher_is_left_out(launcher: str) -> None:
    loaded = run([*launcher.split(), "--seed", "5"])
    assert loaded.config.training.seed == 5 and loaded.config.network.network_alpha == 1
    assert loaded.config.training.mixed_precision is None and loaded.config.training.gradient_accumulation_steps == 1
    assert loaded.notices[0] == f"left out: {launcher}"


@pytest.mark.parametrize("before", ["CUDA_VISIBLE_DEVICES=1 accelerate launch", "accelerate launch --gpu_ids 1", "accelerate launch --cpu"])
def test_a_card_that_the_launcher_chose_is_chosen_by_a_setting(before: str) -> None:
    assert run([*before.split(), "train_network.py"]).notices[0] == f"left out: {before} train_network.py; --device chooses the card"


def test_options_of_ours_stand_before_the_line_and_behind_it() -> None:
    loaded = pasted("--set log_every_n_steps=2 accelerate launch --num_processes 1 train_network.py --seed 7 --device cpu")
    assert (loaded.config.log.log_every_n_steps, loaded.config.training.seed, loaded.config.training.device) == (2, 7, "cpu")
    assert loaded.notices[0] == "left out: accelerate launch --num_processes 1 train_network.py"


@pytest.mark.parametrize(
    "before", ["--device cpu", "--device=cpu", "--xformers", "--set log_every_n_steps=2", "--network_args conv_dim=4", "--output_nam x"]
)
@pytest.mark.parametrize("script", ["train_network.py", r"D:\x\SDXL_train_network.py", "'train_network.py'"])
def test_a_script_stands_behind_an_option_that_has_its_value(before: str, script: str) -> None:
    loaded = run([*before.split(), script, "--network_dim", "8"])
    alone = run([*before.split(), "accelerate", "launch", script, "--network_dim", "8"])
    assert loaded.config == alone.config and loaded.config.network.network_alpha == 1
    assert loaded.notices[0] == f"left out: {script.strip(chr(39))}"


def test_an_option_of_ours_before_the_line_is_not_the_launchers() -> None:
    """A word that stands alone before it makes it none."""
    (said,) = problems(["pictures", "--seed", "7", "accelerate", "launch", "train_network.py"])
    assert said.startswith("pictures: ")


def test_a_value_is_no_pasted_line() -> None:
    words = ["--output_name", "train_network.py", "--training_comment", "python x.py"]
    loaded = run(words)
    assert loaded.notices == () and loaded.config.save.output_name == "train_network.py"
    behind_a_value = run([*words, "accelerate", "launch", "sdxl_train_network.py"])
    assert behind_a_value.notices[0] == "left out: accelerate launch sdxl_train_network.py"
    assert behind_a_value.config.save.output_name == "train_network.py"


@pytest.mark.parametrize(
    ("launcher", "flag"),
    [
        ("accelerate launch --multi_gpu train_network.py", "--multi_gpu"),
        ("accelerate launch --multi-gpu --num_processes 1 train_network.py", "--multi_gpu"),
        ("accelerate launch --num_processes 2 train_network.py", "--num_processes 2"),
        ("accelerate launch --num-processes=4 sdxl_train_network.py", "--num_processes 4"),
        ("accelerate launch --num_machines 2 --num_processes 1 train_network.py", "--num_machines 2"),
        ("torchrun --nproc_per_node gpu train_network.py", "--nproc_per_node gpu"),
    ],
)
def test_several_processes_are_refused(launcher: str, flag: str) -> None:
    said = "several processes cannot train together yet; leave it out, and one trains on the card that --device names"
    assert problems([*launcher.split(), "--seed", "x"]) == [f"{flag}: {said}", "--seed: `x` is not a whole number"]


@pytest.mark.parametrize("script", [name for row in sd_scripts.SCRIPTS for name in row.names])
@pytest.mark.parametrize("form", ["accelerate launch --num_processes 1 {}", "python {}", r"D:\sd-scripts\{}"])
def test_another_script_is_refused_by_name(script: str, form: str) -> None:
    """Its options are another trainer's, and nothing is said of them; a command that needs settings does not ask for them."""
    words = [*form.format(script).split(), "--token_string=x", "--network_dim=8", "-q"]
    if script in sd_scripts.LORA:
        assert not any(said.startswith(script) for said in problems(words))
        return
    (row,) = [row for row in sd_scripts.SCRIPTS if script in row.names]
    with pytest.raises(ConfigError) as caught:
        load(flags.split(words).sources, ROWS, ("pretrained_model_name_or_path", "train_data_dir"))
    assert [str(problem) for problem in caught.value.problems] == [
        f"command line  {PureWindowsPath(script).name}: is another script of sd-scripts; docs/roadmap.md says of it: {row.here}. "
        "A line of train_network.py or sdxl_train_network.py can be pasted"
    ]


@pytest.mark.parametrize("script", ["my_train_network.py", "wan_train_network.py", "train.py", "train_network2.py"])
def test_a_script_that_nobody_knows_is_no_loras(script: str) -> None:
    assert problems(["python", script, "--network_dim=8"]) == [
        f"{script}: is no script of sd-scripts that is known here. A line of train_network.py or sdxl_train_network.py can be pasted"
    ]


@pytest.mark.parametrize("joint", ["\\", "^", "`"])
def test_what_joins_lines_in_another_shell(joint: str) -> None:
    inside = run(["accelerate", "launch", joint, "train_network.py", joint, "--seed", "5", joint, "--xformers"])
    assert inside.config.training.seed == 5 and inside.config.training.xformers
    assert inside.notices[0] == "left out: accelerate launch train_network.py"
    with pytest.raises(ConfigError) as caught:  # a line that was cut off: nothing is said of what it lacks
        load(flags.split(["accelerate", "launch", "train_network.py", joint]).sources, ROWS, ("train_data_dir",))
    (said,) = caught.value.problems
    assert said.origin.flag == joint and said.message.startswith("the line goes on behind this sign, which joins lines in another shell")


@pytest.mark.parametrize("joint", ["\\", "^", "`"])
@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("--keep_tokens_separator {}", "keep_tokens_separator", "{}"),
        ("--keep_tokens_separator {} --xformers", "keep_tokens_separator", "{}"),
        ("--keep_tokens_separator {} {} --xformers", "keep_tokens_separator", "{}"),
        ("--keep-tokens-sep {} --xformers", "keep_tokens_separator", "{}"),
        ("--keep_tokens_separator={} {} --xformers", "keep_tokens_separator", "{}"),
        ("--keep_tokens_separator {} x", "keep_tokens_separator", "x"),
        ("--keep_tokens_separator=x {} --xformers", "keep_tokens_separator", "x"),
        ("--network_args conv_dim=4 {} conv_alpha=2", "network_args", {"conv_dim": 4, "conv_alpha": 2.0}),
        ("--resolution 512 {} --xformers", "resolution", (512, 512)),
        ("--resolution {} 512", "resolution", (512, 512)),
        ("--xformers {} --seed 5", "xformers", True),
    ],
)
def test_a_sign_that_joins_lines_is_a_text_where_an_option_wants_one(joint: str, words: str, key: str, value: object) -> None:
    found = values(run([*LAUNCH.split(), *words.replace("{}", joint).split()]))[key]
    assert found == (joint if value == "{}" else value)


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--caption_extension='.txt'"], "caption_extension", ".txt"),
        (["--resolution='1024,768'"], "resolution", (1024, 768)),
        (["--output_name", "'my", "new", "lora'"], "output_name", "my new lora"),
        (["--output_name=“my", "lora”"], "output_name", "my lora"),
        (["--optimizer_args", "'weight_decay=0.1'"], "optimizer_args", {"weight_decay": 0.1}),
        (["--training_comment='tis"], "training_comment", "'tis"),
        (["--training_comment='tis", "--output_name='a'"], "training_comment", "'tis"),
        (["--training_comment", "it's"], "training_comment", "it's"),
        (["--training_comment='"], "training_comment", "'"),
    ],
)
def test_quotes_that_the_shell_left(words: list[str], key: str, value: object) -> None:
    assert values(run(["accelerate", "launch", "'train_network.py'", *words]))[key] == value


def test_variables_of_a_front_script_are_no_settings_of_a_pasted_line() -> None:
    script = behind(LAUNCH.split() + ["--network_dim", 128, "--resolution", [512, 768]], {"network_alpha": 16, "lr": 1e-4, "vae": "v.pt"})
    loaded = run([], script)
    assert (loaded.config.network.network_alpha, loaded.config.optimizer.learning_rate, loaded.config.model.vae) == (1, 2e-6, None)
    assert not loaded.config.data.shuffle_caption and loaded.config.training.seed == 42  # nor what lora-scripts always set
    assert loaded.config.data.resolution == (512, 768)
    assert "train.ps1: its variables are no settings of this run: the pasted line is complete" in loaded.notices
    assert not any("is not set: " in notice for notice in loaded.notices)


def test_another_commands_own_options_stand_beside_a_pasted_line() -> None:
    check = next(command for command in COMMANDS if command.name == "check")
    chosen, loaded = check.read([*LAUNCH.split(), "--train_data_dir", "pictures", "--sheet", "a.html"])
    assert chosen.sheet == "a.html" and loaded.config.data.train_data_dir == "pictures"


EVERY = Known({key.name: key for command in COMMANDS for key in keys_of(command.options)}, settings=True)


@pytest.mark.parametrize("known", [SETTINGS, EVERY], ids=["settings", "all"])
def test_beginnings_of_options_mean_what_argparse_takes_them_for(known: Known) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    several_names = {
        "config_file",
        "caption_extention",
    }  # these mean what `config` and `caption_extension` mean, and are never in their way
    names = [name for name in dict.fromkeys(known.names()) if not (name in options.RUN and options.RUN[name].foreign)]
    for name in names:
        parser.add_argument(f"--{name}", dest=name, action="append", nargs="?")
    checked = 0
    for name in names:
        for length in range(1, len(name) + 1):
            begun = name[:length]
            if any(other.startswith(begun) for other in several_names) or known.takes(begun):
                continue
            matches = parser._get_option_tuples(f"--{begun}")
            expected = matches[0][1].removeprefix("--") if len(matches) == 1 else begun
            assert known.meant(begun) == expected, begun
            checked += 1
    assert checked > 1000
    assert known.meant("config_f") == "config_file" and known.meant("caption_exten") == "caption_extension"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max_train_epoch", "3"], {"max_train_epochs": 3}),
        (["--max-train-epoch=3"], {"max_train_epochs": 3}),
        (["--learning_rat", "1"], {"learning_rate": 1.0}),
        (["--seed", "3"], {"seed": 3}),
        (["--sample_every_n_e", "2", "--sample_pr", "p.txt"], {"sample_every_n_epochs": 2, "sample_prompts": "p.txt"}),
        (["--save_every_n", "2"], ["--save_every_n: several options begin so: --save_every_n_epochs, --save_every_n_steps; "
                                   "write more of the one that is meant"]),
        (["--cpu"], ["--cpu (--cpu_offload_checkpointing): is not available yet; gradient_checkpointing saves memory too"]),
        (["--max_train_epoch", "x"], ["--max_train_epoch (--max_train_epochs): `x` is not a whole number"]),
        (["--max_train_epohcs", "3"], ["--max_train_epohcs: unknown option. Did you mean `--max_train_epochs`?"]),
        (["--train_text", "1"], ["--train_text: unknown option. Did you mean `--train_text_encoder`?"]),
        (["--set", "max_train_epoch=3"], ["--set max_train_epoch: unknown key. Did you mean `max_train_epochs`?"]),
    ],
)  # fmt: skip
def test_the_beginning_of_an_option(words: list[str], said: dict[str, object] | list[str]) -> None:
    for before in ([], LAUNCH.split()):
        if isinstance(said, list):
            assert problems([*before, *words]) == said
        else:
            assert {key: values(run([*before, *words]))[key] for key in said} == said


def test_the_beginning_of_a_commands_own_option() -> None:
    (option,) = parse(["--lor", "a.safetensors", "b.safetensors"], EVERY).options
    assert option == ("lora", ("a.safetensors", "b.safetensors"))
