"""What a front script hands over becomes settings: every variable, the mistakes people make, and what lora-scripts made of the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.__main__ import COMMANDS
from engine.adapters import METHODS
from engine.commands import doctor, sample, tensorboard
from engine.config import HANDOVER, handover, options, variables
from engine.config.keys import run_keys
from engine.config.load import Loaded
from engine.config.problems import ConfigError
from engine.config.script_text import ScriptText
from engine.errors import UserError, find_row, names

MARK = b"\xef\xbb\xbf"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, command: str = "train") -> Loaded:
    """The settings of a hand-over, by the way that `python -m engine` goes."""
    row = find_row(COMMANDS, command, "command", "")
    return replace(row, needs=()).read([], handover.read(text))[1]


def options_of(text: str) -> object:
    """The values of the command's own options that a hand-over gives."""
    script = handover.read(text)
    return find_row(COMMANDS, script.command, "command", "").read([], script)[0]


def handed(lines: str, values: dict[str, Any], *, command: str = "train", edition: str = "Core", mark: bool = True, more: Any = ()) -> str:
    """A hand-over of a script `train.ps1` with these lines, whose variables PowerShell found to be `values`."""
    path = Path(f"{command}.ps1")
    path.write_bytes((MARK if mark else b"") + lines.replace("\n", "\r\n").encode("utf-8"))
    return json.dumps({"script": str(path), "command": command, "edition": edition, "variables": values, "arguments": list(more)})


def given(values: dict[str, Any], **more: Any) -> Loaded:
    """The settings of a script that assigns these values, a line each."""
    return load(handed(script_of(values), values, **more), more.get("command", "train"))


def script_of(values: dict[str, Any]) -> str:
    return "".join(f"${name} = {json.dumps(value)}\n" for name, value in values.items())


def problems(values: dict[str, Any], lines: str | None = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(handed(script_of(values) if lines is None else lines, values, **more), more.get("command", "train"))
    return [str(problem) for problem in caught.value.problems]


def notes(loaded: Loaded) -> list[str]:
    """What is said, without the two lines about what the script does not set."""
    return [notice for notice in loaded.notices if "is not set: " not in notice]


def test_names_of_lora_scripts_and_of_sd_scripts_in_any_capitals() -> None:
    model = "D:\\模型\\a b.safetensors"
    loaded = given({"Pretrained_Model": model, "batch_size": 4, "network_dim": 16, "lr": 2e-4, "max_train_epoches": 12})
    config = loaded.config
    assert config.model.pretrained_model_name_or_path == model
    assert (config.data.train_batch_size, config.network.network_dim, config.training.max_train_epochs) == (4, 16, 12)
    origin = loaded.origins["train_batch_size"]
    assert (str(origin), origin.place("x")) == ("train.ps1:2", "train.ps1:2  $batch_size")


def test_numbers_as_text_and_switches_as_numbers() -> None:
    switches = {"train_unet_only": 1, "flip_aug": "0", "xformers": "false"}
    config = given({"lr": "1e-4", "network_dim": "32", "network_alpha": "16.5", **switches}).config
    assert (config.optimizer.learning_rate, config.network.network_dim, config.network.network_alpha) == (1e-4, 32, 16.5)
    assert config.network.network_train_unet_only and not config.data.flip_aug and not config.training.xformers


@pytest.mark.parametrize("nothing", ["", False])
def test_nothing_is_left_out(nothing: object) -> None:
    names = ["reg_data_dir", "unet_lr", "resolution", "min_snr_gamma", "mixed_precision", "network_weights", "clip_skip", "seed", "vae"]
    config = given(dict.fromkeys(names, nothing)).config
    assert config.data.reg_data_dir is config.optimizer.unet_lr is config.data.resolution is config.objective.min_snr_gamma is None
    assert config.training.seed == 42 and config.model.clip_skip is None


def test_nothing_switches_off_what_is_on_by_default() -> None:
    assert given({"logging_dir": "", "save_precision": ""}).config.log.logging_dir is None


def test_lists_and_tables_of_options() -> None:
    loaded = given({"network_args": ["conv_dim=4"], "optimizer_args": {"weight_decay": 0.1, "betas": "0.9,0.95"}})
    assert loaded.config.network.network_args == {"conv_dim": 4}
    assert loaded.config.optimizer.optimizer_args == {"weight_decay": 0.1, "betas": (0.9, 0.95)}
    wrapped = given({"network_args": {"value": ["conv_dim=8"], "Count": 1}})  # a list, as PowerShell 5.1 writes some
    assert wrapped.config.network.network_args == {"conv_dim": 8}


def test_a_script_without_a_variable_gets_what_lora_scripts_always_set() -> None:
    loaded = given({"network_dim": 8})
    assert (loaded.config.training.seed, loaded.config.model.max_token_length, loaded.config.data.shuffle_caption) == (1337, 225, True)
    assert [notice.partition(": is not set")[0] for notice in loaded.notices] == ["train.ps1  $xformers", "train.ps1  $mixed_precision"]
    assert given({"network_dim": 8}, command="sample").config.training.seed == 42


def test_the_later_of_two_names_for_one_setting_counts() -> None:
    loaded = given({"max_train_epochs": 10, "max_train_epoches": 12, "optimizer_type": "Lion", "use_8bit_adam": 1})
    assert (loaded.config.training.max_train_epochs, loaded.config.optimizer.optimizer_type) == (12, "AdamW8bit")
    assert notes(loaded) == [
        "train.ps1:2  $max_train_epoches: is used, and not $max_train_epochs in line 1: both mean `max_train_epochs`",
        "train.ps1:4  $use_8bit_adam: is used, and not $optimizer_type in line 3: both mean `optimizer_type`",
    ]
    assert given({"optimizer_type": "Lion", "use_8bit_adam": 0}).config.optimizer.optimizer_type == "Lion"


def test_arguments_win_and_config_files_too() -> None:
    Path("one.toml").write_text("network_dim = 4\nseed = 7\n", encoding="utf-8")
    values = {"network_dim": 32, "seed": 1, "config_file": "one.toml", "resolution": "512,512"}
    loaded = given(values, more=["--network_alpha", 2, "--resolution", [640, 512], "--lr_scheduler=linear", "--seed", 9])
    config = loaded.config
    assert (config.network.network_dim, config.network.network_alpha, config.training.seed) == (4, 2.0, 9)
    assert config.data.resolution == (640, 512) and config.optimizer.lr_scheduler == "linear"
    assert notes(loaded) == ["train.ps1:3  $config_file: the settings in one.toml win over the variables here"]


def test_a_random_seed_is_drawn_and_told() -> None:
    loaded = given({"random_seed": True, "seed": 5})
    assert notes(loaded) == [f"train.ps1:1  $random_seed: the seed of this run is {loaded.config.training.seed}"]
    assert given({"random_seed": False, "seed": 5}).config.training.seed == 5
    assert given({"random_seed": False}).config.training.seed == 1337


def test_convolutions_have_a_switch() -> None:
    off = {"enable_locon_train": False, "conv_dim": 4, "conv_alpha": 1}
    assert given(off).config.network.network_args == {}
    assert given(off | {"enable_locon_train": True}).config.network.network_args == {"conv_dim": 4, "conv_alpha": 1.0}
    both = off | {"enable_locon_train": True, "network_args": ["rank_dropout=0.1"]}
    assert given(both).config.network.network_args == {"rank_dropout": 0.1, "conv_dim": 4, "conv_alpha": 1.0}
    (said,) = problems(both | {"network_args": ["conv_dim=8"]})
    assert said == "train.ps1:4  $network_args: `conv_dim` stands here and in a variable of its own; keep one"


def test_lycoris_has_a_switch_and_gets_its_variables() -> None:
    values = {"enable_lycoris_train": False, "algo": "loha", "dropout": 0, "conv_dim": 4, "conv_alpha": 1}
    assert given(values).config.network.network_args == {}
    told = {"conv_dim": 4, "conv_alpha": 1.0, "algo": "loha", "dropout": 0.0}
    on = given(values | {"enable_lycoris_train": True}).config.network
    assert (on.network_module, on.network_args) == ("lycoris", told)
    named = given(values | {"network_module": "lycoris.kohya"}).config.network  # as lora-scripts has it
    assert (named.network_module, named.network_args) == ("lycoris", told)
    both = given(values | {"enable_lycoris_train": True, "enable_locon_train": True}).config.network
    assert both.network_args == told


def test_lycoris_is_chosen_by_whatever_its_row_is_called() -> None:
    (row,) = [row for row in METHODS if variables.LYCORIS[0] in names(row)]
    assert sorted(variables.LYCORIS) == sorted(names(row))
    for name in (*names(row), row.name.upper()):
        loaded = given({"network_module": name, "algo": "loha"})
        assert loaded.config.network.network_args == {"algo": "loha"} and notes(loaded) == []


def test_an_algo_without_lycoris_is_told() -> None:
    said = "train.ps1:1  $algo: `loha` has no effect, since neither $enable_lycoris_train nor $network_module chooses LyCORIS"
    for others in ({}, {"enable_lycoris_train": False}, {"network_module": "networks.loha"}, {"enable_locon_train": 1, "conv_dim": 4}):
        assert notes(given({"algo": "loha"} | others)) == [said]
        for word in ("lora", "LoRA", "", False):
            assert notes(given({"algo": word} | others)) == []


@pytest.mark.parametrize("switch_first", [True, False])
def test_the_switch_of_lycoris_wins_over_the_module_as_in_lora_scripts(switch_first: bool) -> None:
    values = {"algo": "loha", "conv_dim": 4}
    pair = [("enable_lycoris_train", True), ("network_module", "networks.lora")]
    loaded = given(values | dict(pair if switch_first else reversed(pair)))
    assert (loaded.config.network.network_module, loaded.config.network.network_args) == ("lycoris", {"algo": "loha", "conv_dim": 4})
    switch, module = (3, 4) if switch_first else (4, 3)
    said = f"is used, and not $network_module in line {module}: both mean `network_module`"
    assert notes(loaded) == [f"train.ps1:{switch}  $enable_lycoris_train: {said}"]
    for name in variables.LYCORIS:
        assert notes(given(values | {"enable_lycoris_train": True, "network_module": name})) == []


def test_options_of_the_method_are_told_where_their_variable_stands() -> None:
    values = {"enable_lycoris_train": True, "network_args": ["preset=fulll"], "algo": "lokr", "dropout": "much"}
    assert problems(values) == [
        "train.ps1:2  $network_args: preset: `fulll` is no preset. Did you mean `full`?",
        "train.ps1:3  $algo: `lokr` is not available yet; there is lora, locon, loha",
        "train.ps1:4  $dropout: `much` is not a number",
    ]


@pytest.mark.parametrize("switch", variables.SWITCHES)
def test_a_switch_is_true_or_false(switch: str) -> None:
    """A word that is neither is told, and nothing else of what would follow from it."""
    values = {"algo": "lora", "conv_dim": 4, "network_args": ["conv_dim=4"], "prompt_file": "none.txt", switch: "yes"}
    assert problems(values) == [f"train.ps1:5  ${switch}: `yes` is neither true nor false; write $true or $false"]


def test_sample_pictures_have_a_switch_and_need_their_prompts() -> None:
    samples = {"output_sample": True, "prompt_file": "p.txt", "sampler": "ddim", "sample_every_n_epochs": 2}
    missing = given(samples)
    assert missing.config.sample.sample_prompts is missing.config.sample.sample_every_n_epochs is None
    assert notes(missing) == [
        "train.ps1:2  $prompt_file: no sample pictures are made: `p.txt` does not exist; write a prompt a line into it"
    ]
    Path("p.txt").write_text("a cat\n", encoding="utf-8")
    sample = given(samples).config.sample
    assert (sample.sample_prompts, sample.sample_sampler, sample.sample_every_n_epochs) == ("p.txt", "ddim", 2)
    off = given(samples | {"output_sample": False})
    assert off.config.sample == given({}).config.sample and notes(off) == []
    assert given({"prompt_file": "p.txt", "sample_every_n_steps": 5}).config.sample.sample_every_n_steps == 5


def test_clip_skip_is_left_out_for_sdxl_as_in_lora_scripts() -> None:
    assert given({"clip_skip": 2, "model_type": "sd1.5"}).config.model.clip_skip == 2
    assert given({"clip_skip": 2, "model_type": "sdxl"}).config.model.clip_skip is None
    assert given({"parameterization": 1}).config.model.v_parameterization is True
    assert given({"parameterization": 0}).config.model.v_parameterization is None


@pytest.mark.parametrize("variable", variables.VARIABLES, ids=lambda variable: variable.name)
def test_a_row_does_what_its_state_says(variable: variables.Variable) -> None:
    if variable.state == options.WORKS:
        assert variable.key in {"", *run_keys(), *options.RUN} and (not variable.switch or variable.switch in variables.BY_NAME)
    elif variable.switch:
        assert notes(given({variable.name: "x"})) == []
    elif variable.state == options.NO_EFFECT:
        assert notes(given({variable.name: "x"})) == [f"train.ps1:1  ${variable.name}: has no effect here; {variable.says}"]
    else:
        said = {options.NOT_YET: "is not available yet", options.NEVER: "is not supported"}[variable.state]
        assert problems({variable.name: 1}) == [f"train.ps1:1  ${variable.name}: {said}; {variable.says}"]
    if variable.state != options.WORKS:
        for value in (*variable.inert, 0, "", False):
            assert notes(given({variable.name: value})) == []


def test_options_of_sd_scripts_keep_their_state_in_a_script() -> None:
    assert problems({"save_state": 1}) == [
        "train.ps1:1  $save_state: is not available yet; `network_weights` continues from a LoRA file, with a fresh optimizer"
    ]
    assert problems({"save_model_as": "ckpt"})[0].startswith(
        "train.ps1:1  $save_model_as: `ckpt` is not supported; such a file can run code"
    )
    (said,) = problems({"optimizer_type": "DAdaptAdam"})
    assert "Prodigy is its successor" in said and "without a word" in said


def test_mistyped_names_are_found_and_helpers_are_let_be() -> None:
    lines = '$base = 1e-4\n$lr = $base * 2\n$nework_dim = 8\n$ErrorActionPreference = "Stop"\n$mine = 5\n'
    lines += '$folder = "x"\n$output_name = "$folder"\n'
    values = {"base": 1e-4, "lr": 2e-4, "nework_dim": 8, "ErrorActionPreference": 1, "mine": 5, "folder": "x", "output_name": "x"}
    assert problems(values, lines) == [
        "train.ps1:3  $nework_dim: there is no such variable. Did you mean `$network_dim`?",
        "train.ps1:5  $mine: there is no such variable. One of your own must be used somewhere in the script",
    ]


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ("cosine", "PowerShell could make nothing of `cosine`: texts and paths stand between quotes"),
        ("512px", "PowerShell could make nothing of `512px`: texts and paths stand between quotes, numbers without a unit"),
        ("$cosine", "there is no variable `$cosine`; texts stand between quotes"),
    ],
)
def test_a_variable_without_a_value_is_explained(right: str, said: str) -> None:
    (found,) = problems({"lr_scheduler": None}, f"# a\n$lr_scheduler = {right} # b\n")
    assert found.startswith(f"train.ps1:2  $lr_scheduler: it has no value; {said}")


def test_null_is_nothing() -> None:
    assert load(handed("$unet_lr = $NULL\n", {"unet_lr": None})).config.optimizer.unet_lr is None


def test_other_mistakes_are_explained_with_their_line() -> None:
    lines = '$reg_data_dir =\n$output_name = "x"\n$noise_offset = 0,5\n$network_dim = "many"\n$text_encoder_lr = 0,5\n'
    values = {"reg_data_dir": "x", "output_name": "x", "noise_offset": [0, 5], "network_dim": "many", "text_encoder_lr": [0, 5]}
    assert problems(values, lines) == [
        "train.ps1:1  $reg_data_dir: nothing stands behind the `=`, so that PowerShell takes the next line for it; "
        'write $reg_data_dir = ""',
        "train.ps1:3  $noise_offset: PowerShell takes `0,5` for a list; a decimal number has a point: `0.5`",
        "train.ps1:4  $network_dim: `many` is not a whole number",
        "train.ps1:5  $text_encoder_lr: PowerShell takes `0,5` for a list; a decimal number has a point: `0.5`",
    ]


def test_a_file_without_its_mark() -> None:
    values, lines = {"output_name": "åˆéŸ³"}, '# 名稱\n$output_name = "初音"\n'
    (said,) = problems(values, lines, edition="Desktop", mark=False)
    assert said.startswith(
        "train.ps1:2  $output_name: the file was saved without its mark (BOM) and is misread; save it as `UTF-8 with BOM`"
    )
    only_comments = load(handed('# 名稱\n$output_name = "x"\n', {"output_name": "x"}, edition="Desktop", mark=False))
    assert notes(only_comments)[0].startswith("train.ps1: saved without its mark (BOM); before you write Chinese into it")
    assert load(handed(lines, {"output_name": "初音"}, edition="Core", mark=False)).config.save.output_name == "初音"
    assert load(handed(lines, {"output_name": "初音"}, edition="Desktop")).config.save.output_name == "初音"
    assert "could not be read; save train.ps1 as `UTF-8 with BOM`" in problems({"output_name": "\ufffd\ufffd"})[0]


def test_options_of_the_commands_own() -> None:
    text = handed("", {"lora": ["a.safetensors", ""], "prompt": "a cat --d 1", "out": "", "sampler": "ddim"}, command="sample")
    assert options_of(text) == sample.Options(lora=("a.safetensors",), prompt=("a cat --d 1",))
    assert load(text, "sample").config.sample.sample_sampler == "ddim"
    other = handed("", {"lora": ["a.safetensors"], "prompt": "a cat"}, command="sample", more=["--lora", "b.safetensors"])
    assert options_of(other) == sample.Options(lora=("b.safetensors",), prompt=("a cat",))
    for on in (True, 1, "true"):
        assert options_of(handed("", {"run_training": on}, command="doctor")) == doctor.Options(run=True)
    for off in (False, 0, "false", "", None):
        assert options_of(handed("$run_training = $null", {"run_training": off}, command="doctor")) == doctor.Options(run=False)
    viewer = {"logging_dir": "./logs", "port": "6007", "open_browser": True}
    assert options_of(handed("", viewer, command="tensorboard")) == tensorboard.Options("./logs", 6007, True)
    assert options_of(handed("", viewer, command="tensorboard", more=["--browser", "false"])) == tensorboard.Options("./logs", 6007, False)


def test_mistakes_in_options_of_the_commands_own_are_told_with_their_line() -> None:
    wrong = {"prot": 1, "port": "six", "open_browser": "maybe", "logging_dir": ["a", "b"]}
    assert problems(wrong, command="tensorboard") == [
        "tensorboard.ps1:1  $prot: there is no such variable. Did you mean `$port`?",
        "tensorboard.ps1:2  $port: `six` is not a whole number",
        "tensorboard.ps1:3  $open_browser: `maybe` is neither true nor false",
        "tensorboard.ps1:4  $logging_dir: one value is expected, here are 2 (`a`, `b`); put a text with spaces between quotes",
    ]
    assert problems({"promt": "a cat"}, command="sample") == ["sample.ps1:1  $promt: there is no such variable. Did you mean `$prompt`?"]
    overruled = handed("", {"port": "six"}, command="tensorboard", more=["--port", 6008])
    assert options_of(overruled) == tensorboard.Options(port=6008)


def test_a_folder_behind_a_script_is_the_one_that_the_command_takes() -> None:
    """As dragged onto check.cmd or tensorboard.cmd."""
    folder = "D:\\工具\\my pics"
    dragged = handed("", {"train_data_dir": "./train_data/demo"}, command="check", more=[folder])
    assert load(dragged, "check").config.data.train_data_dir == folder
    viewer = handed("", {"logging_dir": "./logs", "open_browser": True}, command="tensorboard", more=[folder])
    assert options_of(viewer) == tensorboard.Options(folder, browser=True)
    Path("my pics").mkdir()
    (said,) = problems({"train_data_dir": "./train_data/demo"}, more=["my pics"])
    assert said == 'command line  my pics: belongs to no option; write --train_data_dir "my pics"'


def test_the_settings_beside_a_lora_are_below_the_scripts() -> None:
    Path("run").mkdir()
    Path("run/settings.toml").write_text("seed = 3\nclip_skip = 2\n", encoding="utf-8")
    config = given({"lora": ["run/a.safetensors"], "seed": 8, "clip_skip": ""}, command="sample").config
    assert (config.training.seed, config.model.clip_skip) == (8, 2)
    Path("own.toml").write_text("seed = 5\n", encoding="utf-8")
    config = given({"lora": ["run/a.safetensors"], "config_file": "own.toml"}, command="sample").config
    assert (config.training.seed, config.model.clip_skip) == (5, None)


def test_what_is_handed_to_another_command_is_not_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from engine import __main__ as main

    monkeypatch.setattr(main.environment, "apply", lambda root: None)
    monkeypatch.setenv(HANDOVER, handed("", {"network_dim": "x"}, more=["--nonsense"]))
    assert main.main(["tensorboard", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("error: nowhere: there is no folder of logs")


def test_what_is_no_hand_over_is_refused() -> None:
    for text in ("{", "[]", '{"script": 1}'):
        with pytest.raises(UserError, match="not what the scripts hand over"):
            handover.read(text)


def test_a_path_that_powershell_cut_in_two_is_whole_again() -> None:
    for cut in ("--vae=D:", "--vae=D"):  # PowerShell 7 drops the colon
        assert given({}, more=[cut, "\\a b\\c.safetensors"]).config.model.vae == "D:\\a b\\c.safetensors"
    more = ["--vae=D:", "\\a b\\c.safetensors", "--caption_prefix=x:", "--seed", 3]
    config = given({}, more=more).config
    assert (config.model.vae, config.data.caption_prefix, config.training.seed) == ("D:\\a b\\c.safetensors", "x:", 3)


def test_a_swallowed_quote_is_explained() -> None:
    with pytest.raises(UserError, match="the quotes of this argument went wrong") as caught:
        load(handed("", {}, more=['--train_data_dir=D:\\pics" --seed 1']))
    assert "a backslash before a closing quote" in caught.value.hint


def test_a_message_about_a_setting_is_led_to_its_line() -> None:
    lines, values = "# a\n$pretrained_model = 'x'\n\n$train_data_dir = 'y'\n", {"pretrained_model": "x", "train_data_dir": "y", "lr": 1}
    origins = load(handed(lines, values)).origins
    assert handover.places(origins, "pretrained_model_name_or_path = x: no such file") == ["it is set in train.ps1:2  $pretrained_model"]
    assert handover.places(origins, "train_data_dir = y: no pictures") == ["it is set in train.ps1:4  $train_data_dir"]
    assert handover.places(origins, "1 problem\n  train.ps1:4  $train_data_dir: no pictures") == []
    assert handover.places(origins, "the disk is full; learning_rate is not") == []  # no line of the script sets that
    dragged = load(handed(lines, values, command="check", more=["pics"]), "check").origins
    assert handover.places(dragged, "train_data_dir = pics: no pictures") == []  # what was typed won over the line


def test_lines_are_found_in_the_text() -> None:
    script = "$a =\n$b = 2\n<# $c = 3 #>\n[int] $e = 5; $f = \"$e # x\" # $g\n$h = @('$i',\n  $f)\n${j} += 1 # it's\n$k = 'x'\n"
    text = ScriptText(script.encode("utf-8"))
    lines = {name: text.assignment(name).line for name in "abcefghijk"}
    assert lines == {"a": 1, "b": 2, "c": 0, "e": 4, "f": 4, "g": 0, "h": 5, "i": 0, "j": 7, "k": 8}
    assert text.assignment("a").takes_next_line and not text.assignment("b").takes_next_line
    assert [name for name in "abcefghijk" if text.is_read(name)] == ["e", "f"]


def test_the_exit_status_and_the_messages(root: Path, folder: Path) -> None:
    """The real engine as a script calls it; the status is what the script passes on."""

    def run(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        text = handed(script_of(values), values, command="check")
        handed_over = json.loads(text) | {"script": str(folder / "check.ps1")}
        environment = {**os.environ, HANDOVER: json.dumps(handed_over)}
        command = [sys.executable, "-s", "-X", "utf8", "-m", "engine", "check"]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)

    places = {"train_data_dir": str(root / "train_data/demo"), "sheet": str(folder / "a b.html"), "cache_dir": str(folder / "cache")}
    right = run(places | {"resolution": "", "max_train_epochs": 3})
    assert right.returncode == 0 and (folder / "a b.html").is_file(), right.stderr
    wrong = run(places | {"batch_size": "two"})
    assert wrong.returncode == 1 and "check.ps1:4  $batch_size: `two` is not a whole number" in wrong.stderr
    gone = run(places | {"train_data_dir": "no/such folder"})
    assert gone.returncode == 1 and gone.stderr.endswith("\nit is set in check.ps1:1  $train_data_dir\n"), gone.stderr
