"""A word that belongs to no option is told, with what to write: from a terminal and behind a front script, for every command."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from engine.__main__ import COMMANDS, main
from engine.config import HANDOVER, flags, handover, options
from engine.config.keys import keys_of, run_keys
from engine.config.known import FILES, SETTINGS, Known, Takes
from engine.config.words import parse

WITH_SETTINGS = ("train", "check", "cache", "sample", "config")
SCRIPTS = ("train", "check", "tag", "caption", "captions", "sample", "tensorboard", "doctor")  # commands that a front script calls
LISTED = "Options begin with two dashes, and configs/reference.toml lists them"

Table = list[tuple[list[str], list[str]]]  # words, and what is said


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in a folder with what people drag onto a script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("engine.environment.apply", lambda root: None)
    for name in ("my pics", "logs", "diffusers"):
        (tmp_path / name).mkdir()
    (tmp_path / "diffusers/model_index.json").write_text("{}", encoding="utf-8")
    (tmp_path / "demo.toml").write_text("seed = 1\n", encoding="utf-8")
    (tmp_path / "p.txt").write_text("a cat\n", encoding="utf-8")
    return tmp_path


def told(command: str, words: list[Any], *, script: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The problems that a command line ends with, typed in a terminal or behind a script that sets variables of its own."""
    if script:
        named = {"sample": {"prompt": ["p q"], "lora": ["x.safetensors"]}, "tensorboard": {"open_browser": True, "logging_dir": "./logs"}}
        handed = {"script": f"{command}.ps1", "command": command, "edition": "Core", "variables": named.get(command, {})}
        monkeypatch.setenv(HANDOVER, json.dumps(handed | {"arguments": words}))
    status = main([command, *([] if script else words)])
    lines = capsys.readouterr().err.splitlines()
    assert status == 1 and lines[0].startswith("error: "), (status, lines)
    return [line.strip().removeprefix("command line  ") for line in lines[1:] if line.startswith("  ")]


ANYWHERE: Table = [  # for every command that takes settings
    (["-network_dim", "16"], ["-network_dim: options begin with two dashes; write --network_dim 16"]),
    (["-network_dim=16"], ["-network_dim=16: options begin with two dashes; write --network_dim 16"]),
    (["-network_dim:16"], ["-network_dim:16: options begin with two dashes; write --network_dim 16"]),
    (["-network_dim:", "16"], ["-network_dim: options begin with two dashes; write --network_dim 16"]),
    (["-Network-Dim", "16"], ["-Network-Dim: options begin with two dashes; write --network_dim 16"]),
    (["--network_dim:16"], ["--network_dim:16: write --network_dim 16"]),
    (["\u2013network_dim", "16"], ["\u2013network_dim: options begin with two dashes; write --network_dim 16"]),
    (["\u2014xformers"], ["\u2014xformers: options begin with two dashes; write --xformers"]),
    (["---seed", "5"], ["---seed: options begin with two dashes; write --seed 5"]),
    (["-nework_dim", "16"], ["-nework_dim: there is no such option. Did you mean `--network_dim 16`?"]),
    (["-Verbose"], [f"-Verbose: there is no such option. {LISTED}"]),
    (["-?"], [f"-?: there is no such option. {LISTED}"]),
    (["--config", "demo.toml", "-network_dim", "16"], ["-network_dim: options begin with two dashes; write --network_dim 16"]),
    (["--network_args", "conv_dim=4", "-seed", "5"], ["-seed: options begin with two dashes; write --seed 5"]),
    (["network_dim=32"], ["network_dim=32: options begin with two dashes; write --network_dim 32"]),
    (["network_dim", "32"], ["network_dim: options begin with two dashes; write --network_dim 32"]),
    (["my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["--shuffle_caption", "my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["--lowram", "my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["--network_dim", "16", "my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["--resolution", "512", "768", "my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["--network_dim=16", "diffusers"], ["diffusers: belongs to no option; write --pretrained_model_name_or_path diffusers"]),
    (["p.txt"], ["p.txt: belongs to no option; write --sample_prompts p.txt"]),
    (["--output_name", "my", "new", "lora"], ["new lora: belongs to no option: --output_name takes one value; one with spaces stands "
     'between quotes: --output_name "my new lora"']),
    (["--caption_prefix=(a", "1.2)"], ["1.2): belongs to no option: --caption_prefix=(a is complete. A value with a space or a colon in it "
     'stands between quotes behind a space: --caption_prefix "(a 1.2)", --caption_prefix "(a:1.2)"']),
    (["--seed", "5", "\\", "--seed", "6", "^"], ["\\: this sign joins lines in another shell; leave it out",
     "^: this sign joins lines in another shell; leave it out"]),
    (["--output_name", "-x"], [f"-x: there is no such option. {LISTED}. A value that begins with a dash stands behind an equals sign: "
     "--output_name=-x", "--output_name: a text is missing"]),
    (["-Verbose", "my.toml", "-seed", "5", "p.txt"], [f"-Verbose: there is no such option. {LISTED}",
     "my.toml: belongs to no option; write --config my.toml", "-seed: options begin with two dashes; write --seed 5",
     "p.txt: belongs to no option; write --sample_prompts p.txt"]),
]  # fmt: skip
NO_PATH: Table = [  # for those that take no path that stands alone
    (["my pics"], ['my pics: belongs to no option; write --train_data_dir "my pics"']),
    (["--config", "demo.toml", "my pics"], ['my pics: belongs to no option; write --train_data_dir "my pics"']),
    (["--network_dim", "16", "32"], ["32: belongs to no option: --network_dim takes one value"]),
    (["--shuffle_caption", "maybe"], ["maybe: belongs to no option: --shuffle_caption takes true, false or nothing"]),
    (["./train_data/mine"], [f"./train_data/mine: belongs to no option. {LISTED}"]),
]  # fmt: skip
TRAINING: Table = [  # for those but `sample`
    (["a.safetensors"], ["a.safetensors: belongs to no option; write --network_weights a.safetensors for a LoRA, "
     "--pretrained_model_name_or_path a.safetensors for a base model"]),
    ([""], [f'"": belongs to no option. {LISTED}']),
]  # fmt: skip
CHECK: Table = [  # a folder stands alone: the first one
    (["my pics", "logs"], ['logs: --train_data_dir takes one value, and that is "my pics" already; a path with spaces stands between '
     'quotes: "my pics logs"']),
    (["./my", "new", "pics"], ["new pics: --train_data_dir takes one value, and that is ./my already; a path with spaces stands between "
     'quotes: "./my new pics"']),
    (["my pics", "--train_data_dir", "logs"], ['my pics: --train_data_dir takes one value, and that is logs already; a path with spaces '
     'stands between quotes: "logs my pics"']),
    (["--output_name", "my", "pics", "--seed", "1"], ['pics: belongs to no option: --output_name takes one value; one with spaces stands '
     'between quotes: --output_name "my pics"']),
    (["my pics", "my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["my pics", "--sheet"], ["--sheet: needs a value: --sheet FILE"]),
    (["my pics", "--sheet", "", "--network_dim", "x"], ["--sheet: needs a value: --sheet FILE",
     "--network_dim: `x` is not a whole number"]),
    (["my pics", "--shet", "a.html"], ["--shet: unknown option. Did you mean `--sheet`?"]),
]  # fmt: skip
SAMPLE: Table = [
    (["a cat"], ['a cat: belongs to no option; write --prompt "a cat"']),
    (["a", "cat"], ['a cat: belongs to no option; write --prompt "a cat"']),
    (["cat", "--seed", "5"], ['cat: belongs to no option; write --prompt "cat"']),
    (["--prompt", "a cat", "-seed", "5"], ["-seed: options begin with two dashes; write --seed 5"]),
    (["--prompt", "a cat", "my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["--prompt=(a", "1.2)"], ["1.2): belongs to no option: --prompt=(a is complete. A value with a space or a colon in it stands between "
     'quotes behind a space: --prompt "(a 1.2)", --prompt "(a:1.2)"']),
    (["--lora", "a.safetensors", "-seed", "5"], ["-seed: options begin with two dashes; write --seed 5"]),
    (["a.safetensors"], ["a.safetensors: belongs to no option; write --lora a.safetensors for a LoRA, "
     "--pretrained_model_name_or_path a.safetensors for a base model"]),
    (["my pics"], ['my pics: belongs to no option; write --out "my pics"']),
    (["--promt", "a cat"], ["--promt: unknown option. Did you mean `--prompt`?"]),
    (["--lora"], ["--lora: needs a value: --lora FILE ..."]),
    (["--lora", "a.safetensors", "--lora", "--prompt", "a cat"], ["--lora: needs a value: --lora FILE ..."]),
    (["--prompt="], ["--prompt: needs a value: --prompt TEXT ..."]),
    (["--out", "", "--seed", "x"], ["--out: needs a value: --out FOLDER", "--seed: `x` is not a whole number"]),
]  # fmt: skip
OTHERS: dict[str, Table] = {
    "captions": [
        (["add", "x", "-front"], ["-front: options begin with two dashes; write --front"]),
        (["add", "x", "--concept", "my", "pics"], ['pics: belongs to no option: --concept takes one value; one with spaces stands between '
         'quotes: --concept "my pics"']),
        (["rare", "--min_count", "few"], ["--min_count: `few` is not a whole number"]),
        (["add", "x", "--frnt"], ["--frnt: unknown option. Did you mean `--front`?"]),
    ],
    "tensorboard": [
        (["logs", "my pics"], ["my pics: --logdir takes one value, and that is logs already; a path with spaces stands between quotes: "
         '"logs my pics"']),
        (["--logdir", "my", "logs"], ["logs: --logdir takes one value, and that is my already; a path with spaces stands between quotes: "
         '"my logs"']),
        (["6007"], ["6007: belongs to no option; write --port 6007"]),
        (["-port", "6007"], ["-port: options begin with two dashes; write --port 6007"]),
        (["--port", "six"], ["--port: `six` is not a whole number"]),
        (["--port", "70000"], ["--port: 70000 is outside 1 to 65535"]),
        (["--browser=maybe"], ["--browser: `maybe` is neither true nor false"]),
        (["--logdir"], ["--logdir: needs a value: --logdir FOLDER"]),
    ],
    "caption": [
        (["pics", "-overwrite"], ["-overwrite: options begin with two dashes; write --overwrite"]),
        (["pics", "more"], ["more: --train_data_dir takes one value, and that is pics already; "
         'a path with spaces stands between quotes: "pics more"']),
        (["pics", "--num_beams", "0"], ["--num_beams: 0 is too small; at least 1"]),
        (["pics", "--top_p", "1.5"], ["--top_p: 1.5 is outside 0.01 to 1"]),
        (["pics", "--caption_weights", "x.pth"], ["--caption_weights: unknown option. Did you mean `--caption_extension`?"]),
    ],
    "doctor": [
        (["-run"], ["-run: options begin with two dashes; write --run"]),
        (["--run", "my.toml"], ["my.toml: belongs to no option: --run takes true, false or nothing"]),
        (["my.toml"], ["my.toml: belongs to no option. Its options: --run"]),
        (["-Verbose"], ["-Verbose: there is no such option. Its options: --run"]),
        (["--rnu"], ["--rnu: unknown option. Did you mean `--run`?"]),
    ],
    "bundle": [
        (["my.zip"], ["my.zip: belongs to no option; write --out my.zip"]),
        (["-out", "my.zip"], ["-out: options begin with two dashes; write --out my.zip"]),
        (["--wheels", "cpu", "cu13"], ["--wheels: `cu13` is not one of cu130, cu126, cpu. Did you mean `cu130`?"]),
        (["--wheels="], ["--wheels: needs a value: --wheels [BUILD ...]"]),
    ],
    "tag": [
        (["my pics", "-recursive"], ["-recursive: options begin with two dashes; write --recursive"]),
        (["x", "y"], ['y: --train_data_dir takes one value, and that is x already; a path with spaces stands between quotes: "x y"']),
        (["x", "--thresh", "half"], ["--thresh: `half` is not a number"]),
        (["x", "--general_threshold", "-1"], ["--general_threshold: -1 is too small; at least 0"]),
        (["x", "--order", "scores"], ["--order: `scores` is not one of score, model, name. Did you mean `score`?"]),
        (["x", "--categories", "sky"], ["--categories: `sky` is not one of general, character, copyright, artist, meta, model, year"]),
    ],
    "download": [
        (["a/b", "-out", "x.safetensors"], ["-out: options begin with two dashes; write --out x.safetensors"]),
        (["a/b", "--out"], ["--out: needs a value: --out FILE"]),
        (["a/b", "--sha256", ""], ["--sha256: needs a value: --sha256 HASH"]),  # a hash that is lacking is none that was left out
    ],
    "inspect": [
        (["-x.safetensors"], ["-x.safetensors: there is no such option. Its options: --file FILE .... "
         "A path that begins with a dash is written ./-x.safetensors"]),
        (["demo.toml", "--foo"], ["--foo: unknown option. Its options: --file FILE ..."]),
    ],
}  # fmt: skip
ROWS = [
    *((command, words, said) for command in WITH_SETTINGS for words, said in ANYWHERE),
    *((command, words, said) for command in ("train", "cache", "config") for words, said in NO_PATH),
    *((command, words, said) for command in WITH_SETTINGS if command != "sample" for words, said in TRAINING),
    *(("check", words, said) for words, said in CHECK),
    *(("sample", words, said) for words, said in SAMPLE),
    *((command, words, said) for command, table in OTHERS.items() for words, said in table),
]
CASES = [(script, *row) for row in ROWS for script in ((False, True) if row[0] in SCRIPTS else (False,))]


@pytest.mark.parametrize(("script", "command", "words", "said"), CASES)
def test_a_word_that_belongs_to_no_option(
    script: bool, command: str, words: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(command, words, script=script, monkeypatch=monkeypatch, capsys=capsys) == said


@pytest.mark.parametrize(
    "words", [["method", "5"], ["add", "seed", "my.toml", "p.txt"], ["remove", "seed=1", "my pics"], ["replace", "a", "b c"]]
)
@pytest.mark.parametrize("behind", [[], ["--yes"], ["--train_data_dir", "logs"]])
def test_words_of_any_form_are_taken_where_a_command_takes_tags(words: list[str], behind: list[str]) -> None:
    captions = next(command for command in COMMANDS if command.name == "captions")
    assert captions.read([*words, *behind])[0].words == tuple(words)


def test_every_command_is_in_the_table() -> None:
    assert {command.name for command in COMMANDS} == {command for command, _, _ in ROWS}


# What PowerShell makes of typed words (`$args`, recorded with 7.6.9), at a prompt and under -File; then what is said, or the values.
POWERSHELL: list[tuple[list[Any], list[str] | dict[str, object]]] = [
    (["-network_dim", 16], ["-network_dim: options begin with two dashes; write --network_dim 16"]),
    (["-network_dim:", 16], ["-network_dim: options begin with two dashes; write --network_dim 16"]),
    (["./train_data/mine"], [f"./train_data/mine: belongs to no option. {LISTED}"]),
    (["my.toml"], ["my.toml: belongs to no option; write --config my.toml"]),
    (["-5"], [f"-5: belongs to no option. {LISTED}"]),
    (["+5"], [f"+5: belongs to no option. {LISTED}"]),
    (["-Verbose"], [f"-Verbose: there is no such option. {LISTED}"]),
    (["-?"], [f"-?: there is no such option. {LISTED}"]),
    (["--xformers:True"], ["--xformers:True: write --xformers True"]),
    (["-x", "5"], [f"-x 5: there is no such option. {LISTED}"]),
    (["\u2014x", "5"], [f"\u2014x 5: there is no such option. {LISTED}"]),
    (["a:b"], [f"a:b: belongs to no option. {LISTED}"]),
    (["--vae=http", "//a/b"], ["//a/b: belongs to no option: --vae=http is complete. A value with a space or a colon in it stands between "
     'quotes behind a space: --vae "http //a/b", --vae http://a/b']),
    (["--output_name", "a", "cat"], ["cat: belongs to no option: --output_name takes one value; one with spaces stands between quotes: "
     '--output_name "a cat"']),
    ([{"a": 1}], [f"{{'a': 1}}: belongs to no option. {LISTED}"]),
    (["--vae=D", "\\models\\a.safetensors"], {"vae": "D:\\models\\a.safetensors"}),
    (["--vae=D:", "/models/a.safetensors"], {"vae": "D:/models/a.safetensors"}),
    (["--vae", "D:\\models\\a.safetensors"], {"vae": "D:\\models\\a.safetensors"}),
    (["--vae", None], {"vae": ""}),
    (["--network_dim=16"], {"network_dim": "16"}),
    (["--network_dim", 16, "--", "--seed", 5], {"network_dim": "16", "seed": "5"}),
    (["--unet_lr", "-1e-4"], {"unet_lr": "-1e-4"}),
    (["--xformers", True], {"xformers": "true"}),
    (["--resolution", [512, 768]], {"resolution": "512,768"}),
    (["--resolution", "512,", "768"], {"resolution": ("512,", "768")}),
    ([["--resolution=512", 768]], {"resolution": "512,768"}),
    (["--network_args", "conv_dim=4", "conv_alpha=1"], {"network_args": ("conv_dim=4", "conv_alpha=1")}),
    (["--caption_prefix", "a, b"], {"caption_prefix": "a, b"}),
    (["--set", "network_dim=16"], {"network_dim": "16"}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), POWERSHELL)
def test_words_as_powershell_hands_them_over(words: list[Any], said: list[str] | dict[str, object]) -> None:
    handed = {"script": "train.ps1", "command": "train", "edition": "Core", "variables": {}, "arguments": words}
    found = flags.split([], script=handover.read(json.dumps(handed))).sources[-1]
    assert isinstance(found, flags.Flags)
    if isinstance(said, list):
        assert [f"{problem.origin.flag}: {problem.message}" for problem in found.problems] == said
    else:
        assert found.problems == () and {entry.key: entry.raw for entry in found.entries} == said


EVERY = Known({key.name: key for command in COMMANDS for key in keys_of(command.options)}, settings=True)


@pytest.mark.parametrize("name", EVERY.names())
def test_no_option_takes_another_one(name: str) -> None:
    """A dash and a letter is no option's value, whatever stands before it, and every option is named by its own error."""
    for dashed in ("-seed", "\u2013seed"):
        line = parse([f"--{name}", "1", dashed, "5"], EVERY)
        assert [problem.message for problem in line.problems if problem.origin.flag == dashed] == [
            "options begin with two dashes; write --seed 5"
        ]
        assert "5" not in [value for _, values in line.options for value in values]
    (said,) = parse([f"-{name}"], EVERY).problems
    assert said.message == f"options begin with two dashes; write --{name}"


@pytest.mark.parametrize("name", EVERY.names())
def test_an_option_that_is_complete_takes_no_more(name: str) -> None:
    takes = EVERY.takes(name)
    values = {Takes.FILES: ("a.toml",), Takes.NUMBERS: ("512", "768")}.get(takes or Takes.ONE, ("1",))
    line = parse([f"--{name}", *values, "p.txt"], EVERY)
    if takes in (Takes.PAIRS, Takes.PATHS, Takes.NAMES):  # any number of words, of which each is judged by its own form
        assert line.options == ((name, (*values, "p.txt")),) and line.problems == ()
    else:
        assert line.options == ((name, values),)
        assert [(problem.origin.flag, problem.message) for problem in line.problems] == [
            ("p.txt", "belongs to no option; write --sample_prompts p.txt")
        ]


@pytest.mark.parametrize("value", ["-1", "-0.5", "-1e-3", "-.5", "-1 cat"])
def test_a_negative_number_is_a_value(value: str) -> None:
    for name in ("seed", "min_snr_gamma", "output_name", "prompt"):
        assert parse([f"--{name}", value], EVERY) == parse([f"--{name}={value}"], EVERY)
    assert parse(["--prompt=-x", "--prompt=--y"], EVERY).options == (("prompt", ("-x",)), ("prompt", ("--y",)))


def test_no_word_vanishes() -> None:
    """Whatever stands in whatever order: a word is an option, the value of one, or told."""
    pool = ["--seed", "--xformers", "--lora", "--prompt=a", "--zzz", "--config", "--set", "--resolution=1", "--lowram", "-seed", "-zzz"]
    pool += ["-1", "5", "a cat", "my.toml", "my pics", "x.safetensors", "seed", "conv_dim=4", "true", "", "\\", "\u2013vae:", "foo"]
    chance = random.Random(0)
    for _ in range(2000):
        given = chance.choices(pool, k=chance.randint(1, 7))
        line = parse(given, EVERY)
        left = [value for _, values in line.options for value in values]
        said = "\n".join(f"{problem.origin.flag}: {problem.message}" for problem in line.problems)
        names = [f"--{name}" for name, _ in line.options]
        for word in given:
            if word in left:
                left.remove(word)
            else:
                plain, _, value = word.partition("=")
                known = plain in names and (not value or value in left)
                assert known or (word or '""') in said or word.rstrip(":") in said, (given, word, line)


def test_the_table_of_switches_is_one_of_options_that_do_not_work() -> None:
    for name in (*options.SWITCHES, *options.LISTS):
        assert options.RUN[name].state != options.WORKS, name
    assert all(SETTINGS.takes(name) for name in (*run_keys(), *options.RUN, *FILES))


def test_settings_beside_a_lora_take_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    Path("logs/settings.toml").write_text("seed = 3\n", encoding="utf-8")
    assert main(["sample", "my.toml", "--lora", "logs/a.safetensors"]) == 1
    assert "my.toml: belongs to no option; write --config my.toml" in capsys.readouterr().err
