"""The front scripts as files: a grammar reads them, an evaluator that agrees with a real PowerShell runs them, the engine takes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tree_sitter import Node

from engine.__main__ import COMMANDS
from engine.commands import command as commands
from engine.config import handover, options, variables
from engine.config.keys import run_keys
from engine.config.load import Loaded
from engine.errors import find_row
from engine.tools.tag import options as tag_options
from scripts import evaluator

FOLDER = Path(__file__).resolve().parent.parent / "scripts"
SCRIPTS = sorted(FOLDER.rglob("*.ps1"))
FRONT = [path for path in SCRIPTS if path.parent == FOLDER]
NAMES = ["caption", "captions", "check", "demo", "doctor", "sample", "tag", "tensorboard", "train"]
MARK = b"\xef\xbb\xbf"
# peers.md 4.1 and 4.3: every variable at the top of the two ancestors' train.ps1.
WINDOWS = """
pretrained_model train_data_dir reg_data_dir output_name save_model_as resolution batch_size max_train_epoches save_every_n_epochs
network_dim network_alpha clip_skip keep_tokens mixed_precision train_unet_only train_text_encoder_only noise_offset min_snr_gamma
flip_aug random_seed lr unet_lr text_encoder_lr lr_scheduler lr_warmup_steps lr_restart_cycles block_weight_lr down_lr_weight
mid_lr_weight up_lr_weight block_weight_dim block_dims block_alphas network_weights min_bucket_reso max_bucket_reso
persistent_data_loader_workers log_as_outputname optimizer_type enable_lycoris_train algo conv_dim conv_alpha debug_dataset
output_sample sampler sample_every_n_epochs prompt_file
"""
UPSTREAM = """
pretrained_model model_type parameterization train_data_dir reg_data_dir network_module network_weights network_dim network_alpha
resolution batch_size max_train_epoches save_every_n_epochs train_unet_only train_text_encoder_only stop_text_encoder_training
noise_offset keep_tokens min_snr_gamma lr unet_lr text_encoder_lr lr_scheduler lr_warmup_steps lr_restart_cycles optimizer_type
output_name save_model_as save_state resume min_bucket_reso max_bucket_reso persistent_data_loader_workers clip_skip multi_gpu lowram
algo conv_dim conv_alpha dropout use_wandb wandb_api_key log_tracker_name
"""
# peers.md 4.3: every variable at the top of lora-scripts' tagger.ps1, with its value there.
TAGGER = {
    "train_data_dir": "./input", "repo_id": "SmilingWolf/wd-v1-4-swinv2-tagger-v2", "model_dir": "", "batch_size": 4,
    "max_data_loader_n_workers": 0, "thresh": 0.35, "general_threshold": 0.35, "character_threshold": 0.1, "remove_underscore": 0,
    "undesired_tags": "", "recursive": 0, "frequency_tags": 0,
}  # fmt: skip
NO_VARIABLE = {"caption_extention", "onnx"}  # another spelling, and what has no effect
# What 5.1 lacks, in a script without its strings and comments.
NEWER = (
    r"\?\?|\?\.|\?\[|\?|&&|\|\||(?i:-Parallel|-AsHashtable|-AsArray|-NoEnumerate|\$Is(?:Windows|Linux|MacOS)|utf8NoBOM|\bclean\b|::new\()"
)


def command_of(path: Path) -> str:
    """The engine's command that a front script runs."""
    return str(json.loads(evaluator.hand_over(path))["command"])


def settings(path: Path, arguments: Any = (), **changed: Any) -> Loaded:
    """The settings that the engine makes of a script run with these arguments, some variables changed."""
    return read(evaluator.hand_over(path, arguments, **changed))[1]


def read(text: str) -> tuple[object, Loaded]:
    """The options and the settings that the engine makes of a hand-over."""
    script = handover.read(text)
    return replace(find_row(COMMANDS, script.command, "command", ""), needs=()).read([], script)


# --- the evaluator itself


@pytest.mark.parametrize("vector", evaluator.VECTORS["values"], ids=lambda vector: vector["case"])
def test_the_evaluator_agrees_with_powershell(vector: dict[str, Any]) -> None:
    found = evaluator.run(vector["script"]).variables
    assert (found, repr(found)) == (vector["variables"], repr(vector["variables"]))


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("vector", evaluator.VECTORS["mistakes"], ids=lambda vector: vector["case"])
def test_the_evaluator_makes_the_same_mistakes(vector: dict[str, Any], stops: bool) -> None:
    expected = vector["with_stop" if stops else "without_stop"]
    try:
        found = {"exit": 0, "variables": evaluator.run(vector["script"], stops=stops).variables}
    except (evaluator.Mistake, evaluator.Unreadable):
        found = {"exit": 1, "variables": None}
    assert found == expected


def test_all_recorded_values_are_here() -> None:
    assert (len(evaluator.VECTORS["values"]), len(evaluator.VECTORS["mistakes"])) == (64, 14)


# --- the files


def test_the_scripts_are_these_and_each_has_its_twin() -> None:
    assert [path.stem for path in FRONT] == NAMES == [path.stem for path in sorted(FOLDER.glob("*.cmd"))]
    assert [path.name for path in SCRIPTS if path not in FRONT] == ["hand_over.ps1"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one_that_windows_powershell_reads(path: Path) -> None:
    data = path.read_bytes()
    assert data.startswith(MARK) and not data[3:].startswith(MARK)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\t", data) and data.endswith(b"\r\n")
    tree = evaluator.parse(evaluator.read(path))
    assert not tree.has_error, [node.text for node in _broken(tree)]
    newer = re.findall(NEWER, _code(evaluator.read(path)))
    assert newer == [], f"newer than 5.1: {newer}"
    assert all(len(line) <= 160 for line in evaluator.read(path).splitlines())


def _broken(node: Node) -> list[Node]:
    own = [node] if node.type == "ERROR" or node.is_missing else []
    return own + [found for child in node.children for found in _broken(child)]


def _code(text: str) -> str:
    """A script without comments and what stands in quotes."""
    return re.sub(r"#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'", "", text)


@pytest.mark.parametrize("sample", ["$a ?? 1", "$a?.b", "$b ? 1 : 2", "x && y", "x || y", "[Text.UTF8Encoding]::new($false)", "$IsWindows"])
def test_what_is_newer_is_found(sample: str) -> None:
    assert re.search(NEWER, _code(sample))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cmd")), ids=lambda path: path.name)
def test_a_twin_calls_its_script_and_passes_the_status_on(path: Path) -> None:
    data = path.read_bytes()
    assert data.isascii() and not re.search(rb"(?<!\r)\n", data) and b"\t" not in data
    assert data == (FOLDER / "train.cmd").read_bytes()  # they differ in their name alone
    lines = data.decode("ascii").split("\r\n")
    assert lines[0] == "@echo off" and lines[-2:] == ["exit /b %status%", ""]
    (call,) = [line for line in lines if "-File" in line]
    assert call == '"%shell%" -NoLogo -NoProfile -ExecutionPolicy Bypass -File "%~dp0%~n0.ps1" %*'
    assert lines[lines.index(call) + 1] == 'set "status=%ERRORLEVEL%"'
    before = lines[: lines.index(call)]
    assert [line for line in before if "DelayedExpansion" in line] == ["setlocal EnableExtensions DisableDelayedExpansion"]  # `!` stays
    assert "Set-ExecutionPolicy" not in data.decode("ascii")
    assert sum("pause" in line for line in lines) == 1 and lines[-3] == "if defined wait pause"


def test_the_hand_over_starts_the_folders_own_python_and_nothing_else() -> None:
    text = evaluator.read(FOLDER / "lib/hand_over.ps1")
    code = _code(text)
    assert re.findall(r"(?m)^ *& .*", code) == ["        & $python -s -X utf8 -m engine $Command"]
    assert not re.search(r"(?i)activate|accelerate|Scripts\\\w+\.exe|Invoke-Expression|Start-Process|Set-ExecutionPolicy", text)
    assert "$Script))" in text and '"python_310", "python.exe"' in text and '".venv", "bin", "python"' in text
    assert "-LiteralPath" in code and not re.search(r"(?:Test-Path|Set-Location|Remove-Item|Set-Item|Get-ChildItem) (?!-LiteralPath)", code)
    before = ("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "VIRTUAL_ENV", "PIP_INDEX_URL", "PIP_CONFIG_FILE")
    windows = re.findall(r"\$hosts = '(.*)'", text)[1]
    assert all(re.match(windows, name) for name in before) and not re.match(windows, "PATH")


# --- their variables


@pytest.mark.parametrize("path", FRONT, ids=lambda path: path.name)
def test_a_script_is_variables_and_one_call(path: Path) -> None:
    lines = evaluator.read(path).splitlines()
    code = [line for line in lines if line and not line.startswith("#")]
    assert code[0] == '$ErrorActionPreference = "Stop"'
    call = f"Invoke-Engine -Script $PSCommandPath -Command {'train' if path.stem == 'demo' else path.stem} -More $args"
    assert code[-2:] == ['. "$PSScriptRoot\\lib\\hand_over.ps1"', call]
    assert all(re.fullmatch(r"\$\w+ = .+", line) for line in code[:-2])


@pytest.mark.parametrize("path", FRONT, ids=lambda path: path.name)
def test_every_variable_is_documented_in_english_and_chinese(path: Path) -> None:
    lines = evaluator.read(path).splitlines()
    for at, line in enumerate(lines):
        if re.match(r"\$(?!ErrorActionPreference)\w+ = ", line):
            english, chinese = lines[at - 2], lines[at - 1]
            assert re.fullmatch(r"# [A-Z0-9a-z][ -~]+\.", english), f"{path.name}: {english}"
            assert re.match(r"# .*[\u4e00-\u9fff]|# .* / ", chinese), f"{path.name}: {chinese}"
            assert lines[at - 3] == "" and (at + 1 == len(lines) or lines[at + 1] == ""), f"{path.name}: {line}"


@pytest.mark.parametrize("path", FRONT, ids=lambda path: path.name)
def test_every_variable_is_a_row_of_the_option_table(path: Path) -> None:
    command = find_row(COMMANDS, command_of(path), "command", "")
    own = handover.of_command(command.known()).keys()
    names = evaluator.run(evaluator.read(path), given={"args": []}).variables.keys() - {"ErrorActionPreference"}
    known = own | variables.BY_NAME.keys() | run_keys().keys() | options.RUN.keys() if command.settings else own
    assert sorted(names - known) == [] and sorted(own - names - NO_VARIABLE) == []


def test_train_has_every_variable_of_its_ancestors_and_the_three_to_change_first() -> None:
    names = [name for name in evaluator.run(evaluator.read(FOLDER / "train.ps1"), given={"args": []}).variables][1:]
    assert names[:3] == ["pretrained_model", "train_data_dir", "output_name"]
    assert variables.BY_NAME["max_train_epoches"].key == "max_train_epochs"
    assert sorted({*WINDOWS.split(), *UPSTREAM.split()} - {*names, "max_train_epoches"}) == []


def test_tag_takes_every_variable_of_its_ancestor_as_that_had_it(root: Path) -> None:
    as_there = cast(tag_options.Options, read(evaluator.hand_over(FOLDER / "tag.ps1", **TAGGER))[0])
    expected = tag_options.Options(
        train_data_dir="./input", repo_id=str(TAGGER["repo_id"]), thresh=0.35, general_threshold=0.35, character_threshold=0.1,
        cache_dir="./cache",
    )  # fmt: skip
    assert as_there == expected


def test_the_ancestors_variables_are_those_that_were_recorded() -> None:
    for name, row in zip((WINDOWS, UPSTREAM), _ancestors().values(), strict=True):
        assert sorted(name.split()) == sorted(row[0]["variables"])


@pytest.mark.parametrize("path", FRONT, ids=lambda path: path.name)
def test_a_script_as_it_is_runs_without_a_word(path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert settings(path).notices == ()


def test_train_as_it_is_trains_the_demo(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    config = settings(FOLDER / "train.ps1").config
    assert config.data.train_data_dir == "./train_data/demo" and config.save.output_name == "demo"
    assert config.model.pretrained_model_name_or_path == "./models/micro/micro-sd.safetensors"
    assert (config.network.network_dim, config.network.network_alpha, config.data.train_batch_size) == (32, 16.0, 2)
    assert config.data.resolution is None  # what the base model was made for, whichever it is
    assert config.sample.sample_prompts == "./train_data/demo/sample_prompts.txt" and (root / config.sample.sample_prompts).is_file()


def test_demo_is_its_file_alone_and_arguments_win(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert settings(FOLDER / "demo.ps1").config == commands.settings(["--config", "configs/demo.toml"]).config
    assert settings(FOLDER / "demo.ps1", ["--seed", 7]).config.training.seed == 7
    with_one = settings(FOLDER / "demo.ps1", train_unet_only=True)
    assert with_one.config.model.max_token_length == settings(FOLDER / "demo.ps1").config.model.max_token_length
    assert with_one.config.network.network_train_unet_only


def test_a_file_of_settings_that_is_missing_is_told_with_the_line_that_names_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.config.problems import ConfigError

    monkeypatch.chdir(root)
    with pytest.raises(ConfigError, match=r"configs/gone\.toml: this file does not exist.*; demo\.ps1:7 names it"):
        settings(FOLDER / "demo.ps1", config_file="configs/gone.toml")


def test_odd_paths_and_numbers_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("D:\\工具\\my lora (1)\\", "D:\\a[b] & c\\it's 100%!^", "//server/share/ü 초상", "C:\\pics\\"):
        config = settings(FOLDER / "train.ps1", train_data_dir=folder, batch_size="4", lr="1e-4", network_alpha="8").config
        assert config.data.train_data_dir == folder
        assert (config.data.train_batch_size, config.optimizer.learning_rate, config.network.network_alpha) == (4, 1e-4, 8.0)


def test_arguments_win_over_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = settings(FOLDER / "train.ps1", ["--max_train_steps", 10, "--network_dim=8", "--resolution", [640, 512]])
    assert (loaded.config.network.network_dim, loaded.config.data.resolution) == (8, (640, 512))
    assert str(loaded.origins["network_dim"]) == "--network_dim"


def test_a_mistake_is_told_with_its_line_in_the_script() -> None:
    from engine.config.problems import ConfigError

    lines = evaluator.read(FOLDER / "train.ps1").splitlines()
    with pytest.raises(ConfigError) as caught:
        settings(FOLDER / "train.ps1", lr_scheduler="cosinus", network_dim="32 dims")
    for name, said in (("lr_scheduler", "`cosinus` is not known"), ("network_dim", "`32 dims` is not a whole number")):
        line = next(at for at, text in enumerate(lines, 1) if text.startswith(f"${name} ="))
        assert f"train.ps1:{line}  ${name}: {said}" in str(caught.value)


# --- what the ancestors made of the same variables


def _ancestors() -> dict[str, list[dict[str, Any]]]:
    data = json.loads((Path(__file__).parent / "scripts" / "ancestors.json").read_text(encoding="utf-8"))
    return {name: rows for name, rows in data.items() if name != "note"}


# Where ours differs, and why: the log folder is named after the run anyway; PyTorch's attention computes what xformers does.
DIFFERS = {"log_prefix", "xformers", "log_with"}
REFUSED = {"resume", "block_weight_dim", "multi_gpu", "use_wandb", "block_weight_lr", "debug_dataset"}


def _theirs(row: dict[str, Any], leave_out: set[str]) -> Loaded:
    """The settings that sd-scripts' own command line, as it was recorded, gives here."""
    words: list[str] = []
    for word in row["arguments"]:
        if word.startswith("--"):
            dropped = word[2:].partition("=")[0] in leave_out
        if not dropped:
            words.append(word)
    return commands.settings(words)


def _rows() -> list[Any]:
    return [
        pytest.param(rows[0], row, id=f"{name.split()[0]} {','.join(row['changed']) or 'as it is'}")
        for name, rows in _ancestors().items()
        for row in rows
    ]


@pytest.mark.parametrize("alone", [True, False], ids=["pasted over ours", "in ours"])
@pytest.mark.parametrize(("first", "row"), _rows())
def test_the_same_variables_give_the_settings_of_the_ancestors(
    first: dict[str, Any], row: dict[str, Any], alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them alone, as pasted from the old script in place of ours, and as values in our script."""
    from engine.config.problems import ConfigError

    monkeypatch.chdir(tmp_path)
    values = {**first["variables"], **row["variables"]}
    if row["variables"].get("batch_size") == 4:  # of which the rates are multiples
        values |= {name: values[name] * 2 for name in ("lr", "unet_lr", "text_encoder_lr")}
    leave_out = set(DIFFERS)
    if values["optimizer_type"] == "DAdaptAdam":  # which overrode rates and schedule in silence: here it is refused, and that is said
        with pytest.raises(ConfigError, match="lora-scripts-windows set without a word"):
            settings(FOLDER / "train.ps1", **_in_ours(values))
        leave_out |= {"optimizer_type", "optimizer_args", "learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler"}
        values["optimizer_type"] = "AdamW"
    if "mixed_precision" not in values:  # fp16, which had no variable: here the device decides
        leave_out.add("mixed_precision")
    text = _alone(values, tmp_path) if alone else evaluator.hand_over(FOLDER / "train.ps1", **_in_ours(values))
    refused = REFUSED & row["changed"].keys()
    if refused:
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert {problem.origin.name.removeprefix("$") for problem in caught.value.problems} >= refused
        return
    ours, theirs = read(text)[1], _theirs(row, leave_out)
    for name, key in run_keys().items():
        if name not in leave_out:
            here, there = (getattr(getattr(loaded.config, key.section), name) for loaded in (ours, theirs))
            same = Path(here) == Path(there) if key.meta.kind == "path" and here and there else here == there
            assert same, f"{name}: {here} here, {there} there"


def _in_ours(values: dict[str, Any]) -> dict[str, Any]:
    """The ancestors' variables under the names that our script has."""
    return {{"max_train_epoches": "max_train_epochs"}.get(name, name): value for name, value in values.items()}


def _alone(values: dict[str, Any], folder: Path) -> str:
    """A hand-over of a script that has these variables only."""
    path = folder / "train.ps1"
    path.write_bytes(MARK + "".join(f"${name} = {json.dumps(value)}\r\n" for name, value in values.items()).encode())
    return json.dumps({"script": str(path), "command": "train", "edition": "Desktop", "variables": values, "arguments": []})


def test_what_differs_on_purpose_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = _ancestors()["lora-scripts train.ps1"][0]["variables"]
    said = "\n".join(read(_alone(values, tmp_path))[1].notices)
    assert "xformers, which computes the same" in said and "lora-scripts trained in fp16" in said
    assert "threads that stay" in said  # persistent_data_loader_workers


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a stand-in for pwsh is made of sh")
def test_the_runner_for_a_real_powershell_works(root: Path, tmp_path: Path) -> None:
    """`test_with_powershell.py` with the evaluator in PowerShell's place: statuses, arguments, folders, values and mistakes."""
    shell = tmp_path / "pwsh"
    shell.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{root}/tests/scripts/stand_in_shell.py" "$@"\n', encoding="utf-8")
    shell.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    chosen = ("values", "mistakes", "every_script", "the_status", "arguments", "without")  # the others need a real one, or cmd.exe
    command = [sys.executable, "-m", "unittest", *(f"-k=test_{name}" for name in chosen), "tests/scripts/test_with_powershell.py"]
    answer = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    assert re.search(r"Ran 7 tests in .*\n\nOK\n", answer.stderr), answer.stderr
