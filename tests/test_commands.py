"""What every command promises: typed options with help and default, an example that is understood, one path that stands alone."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from engine import __main__ as main
from engine.commands import help
from engine.commands.command import Command
from engine.config import HANDOVER, handover, options
from engine.config.keys import run_keys
from engine.config.known import FILES, SET, SETTINGS
from engine.config.load import Loaded
from engine.config.values import NO_VALUE, read
from engine.errors import UserError, find_row

MAIN_LINES, COMMAND_LINES = 130, 90
BY_NAME = {command.name: command for command in main.COMMANDS}
each = pytest.mark.parametrize("command", main.COMMANDS, ids=lambda command: command.name)


@each
def test_options_are_a_frozen_dataclass_of_settings(command: Command[Any]) -> None:
    parameters = command.options.__dataclass_params__
    assert parameters.frozen and [key.name for key in command.own()] == [field.name for field in dataclasses.fields(command.options)]
    taken = {*run_keys(), *options.RUN, *options.DATASET, *FILES, SET, "help"} if command.settings else {"help"}
    for key in command.own():
        assert key.meta.help and key.name not in taken and not key.meta.rows, key.name
        assert key.default in (None, "", ()) or read(key, key.default) == key.default, key.name
        assert key.meta.alone is None or read(key, NO_VALUE) == key.meta.alone, key.name
        assert key.type is not bool or key.default is False, f"{key.name}: a switch is off where it is left out"
    known = command.known()
    assert command.bare == "" or known.takes(command.bare)
    assert all(known.takes(name) for name in command.needs)
    assert command.settings or not (set(command.needs) - {key.name for key in command.own()}) & run_keys().keys()


@each
def test_a_command_is_a_small_file_of_its_name(root: Path, command: Command[Any]) -> None:
    path = root / f"engine/commands/{command.name}.py"
    assert command.run.__module__ == f"engine.commands.{command.name}"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= COMMAND_LINES


def test_main_is_the_table_and_the_exit_codes(root: Path) -> None:
    assert len((root / "engine/__main__.py").read_text(encoding="utf-8").splitlines()) <= MAIN_LINES
    shared = {"__init__", "command", "help", "missing"}
    assert {path.stem for path in (root / "engine/commands").glob("*.py")} - shared == BY_NAME.keys()


@each
def test_a_help_shows_the_commands_own_options_with_their_defaults(command: Command[Any]) -> None:
    lines = help.of(command, windows=False).splitlines()
    assert lines[0] == command.help and len(command.help) <= 110
    assert f"usage    python -m engine {help.typed(command)}" in lines and f"example  python -m engine {command.example}" in lines
    for key in command.own():
        name = f"[--{key.name}]" if key.name == command.bare else f"--{key.name}"
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.split("  ")[1] == f"{name} {key.behind}".rstrip() and key.meta.help in line
        assert key.name in command.needs or "left out: " in line, line
        assert line.count("left out: ") <= 1, line
    assert command.settings is any("configs/reference.toml lists all of them" in line for line in lines)
    assert max(map(len, lines)) <= 150


def test_a_help_names_the_script_that_does_the_same_on_windows() -> None:
    assert "or       scripts\\check.cmd, with the same behind it" in help.of(BY_NAME["check"], windows=True)
    assert ".cmd" not in help.of(BY_NAME["inspect"], windows=True) + help.of(BY_NAME["check"], windows=False)


def test_the_help_of_all_names_every_command() -> None:
    text = help.general(main.COMMANDS)
    assert re.findall(r"(?m)^  (\w+) +\S", text) == list(BY_NAME) and "configs/reference.toml lists all of them" in text
    assert all(command.help in text for command in main.COMMANDS)


@each
def test_an_example_is_understood(command: Command[Any], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    name, *words = shlex.split(command.example)
    assert name == command.name
    command.read(words)


def test_a_command_in_other_capitals_or_misspelt() -> None:
    assert find_row(main.COMMANDS, "Train", "command", "").name == "train"
    with pytest.raises(UserError, match="there is no command `trian`") as caught:
        find_row(main.COMMANDS, "trian", "command", "")
    assert caught.value.hint == "Did you mean `train`?"


@each
def test_what_a_command_cannot_do_without_is_named(command: Command[Any]) -> None:
    if command.needs:
        with pytest.raises(UserError) as caught:
            command.read([])
        assert all(name in str(caught.value) for name in command.needs) or f"`{command.name}` needs" in str(caught.value)
        assert command.settings or caught.value.hint == f"python -m engine {command.example}"
    else:
        chosen, loaded = command.read([])
        assert chosen == command.options() and loaded.notices == ()


# --- a path that stands alone

BARE: list[tuple[str, list[str], object]] = [  # command, words, the value of what `Command.bare` names
    ("check", ["my pics"], "my pics"),
    ("check", ["./nowhere"], "./nowhere"),
    ("check", ["seed"], "seed"),  # a folder of that name is there
    ("check", ["--config", "demo.toml", "my pics"], "my pics"),
    ("check", ["my pics", "--network_dim", "16"], "my pics"),
    ("check", ["--shuffle_caption", "my pics"], "my pics"),
    ("check", ["--output_name", "x", "my pics"], "my pics"),
    ("check", ["--sheet=a.html", "my pics"], "my pics"),
    ("check", ["--train_data_dir", "my pics"], "my pics"),
    ("tensorboard", ["logs"], "logs"),
    ("tensorboard", ["2024"], "2024"),
    ("tensorboard", ["--port", "6007", "logs"], "logs"),
    ("tensorboard", ["--browser", "my pics"], "my pics"),
    ("inspect", ["a.safetensors", "my pics"], ("a.safetensors", "my pics")),
    ("inspect", ["demo.toml"], ("demo.toml",)),
    ("inspect", ["--file", "a", "b"], ("a", "b")),
    ("inspect", ["a", "--file", "b"], ("a", "b")),
    ("download", ["owner/name"], ("owner/name",)),
    ("download", ["tagger", "wd-swinv2-v3"], ("tagger", "wd-swinv2-v3")),
    ("tag", ["my pics", "--append"], "my pics"),
    ("download", ["--out", "x.safetensors", "owner/name"], ("owner/name",)),
    ("download", ["https://x/y.safetensors?download=true"], ("https://x/y.safetensors?download=true",)),
    ("download", ["--model", "owner/name"], ("owner/name",)),
]
SCRIPTS = {"check": {"train_data_dir": "./train_data/demo"}, "tensorboard": {"logging_dir": "./logs", "open_browser": False}}
CASES = [(script, *row) for row in BARE for script in ((False, True) if row[0] in SCRIPTS else (False,))]


@pytest.mark.parametrize(("script", "name", "words", "value"), CASES)
def test_a_path_that_stands_alone(
    script: bool, name: str, words: list[str], value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed in a terminal, and behind a front script that has a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for folder in ("my pics", "logs", "2024", "seed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "demo.toml").write_text("seed = 1\n", encoding="utf-8")
    handed = {"script": f"{name}.ps1", "command": name, "edition": "Core", "variables": SCRIPTS.get(name, {}), "arguments": words}
    chosen, loaded = BY_NAME[name].read([] if script else words, handover.read(json.dumps(handed)) if script else None)
    assert {"train_data_dir": loaded.config.data.train_data_dir, **vars(chosen)}[BY_NAME[name].bare] == value


def test_a_front_script_reaches_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` gets the script's options and settings; `--help` behind a script is the command's."""
    got: list[tuple[object, Loaded]] = []

    def run(chosen: object, loaded: Loaded) -> int:
        got.append((chosen, loaded))
        return 7

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main.environment, "apply", lambda root: None)
    command = dataclasses.replace(BY_NAME["check"], run=run)
    monkeypatch.setattr(main, "COMMANDS", (command,))
    variables = {"sheet": "a b.html", "train_data_dir": "pics", "batch_size": 4}
    handed = {"script": "check.ps1", "command": "check", "edition": "Core", "variables": variables, "arguments": ["--seed", 5]}
    monkeypatch.setenv(HANDOVER, json.dumps(handed))
    assert main.main(["check"]) == 7
    ((chosen, loaded),) = got
    assert chosen == command.options(sheet="a b.html")
    assert (loaded.config.data.train_data_dir, loaded.config.data.train_batch_size, loaded.config.training.seed) == ("pics", 4, 5)
    monkeypatch.setenv(HANDOVER, json.dumps(handed | {"arguments": ["--help"]}))
    assert main.main(["check"]) == 0
    assert "--sheet FILE" in capsys.readouterr().out


def test_settings_alone_are_known_without_a_command() -> None:
    assert SETTINGS.takes("sheet") is None and BY_NAME["check"].known().takes("sheet")
