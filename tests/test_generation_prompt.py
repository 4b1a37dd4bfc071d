"""Prompt syntax and prompt files: what is read, and what each mistake is told."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.generation import prompt, promptfile
from engine.generation.prompt import parse_line, settle


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_doctests() -> None:
    result = doctest.testmod(prompt)
    assert result.attempted > 5 and result.failed == 0


def test_imports_no_torch() -> None:
    code = "import sys, engine.generation.promptfile; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_file(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "样 图.txt", "# 注释\n\n  a cat --d 1\n初音ミク, smile --n 低画质 --w 511 --h 40\n", encoding)
    first, second = promptfile.read(path)
    assert (first.text, first.seed, first.width, first.where) == ("a cat", 1, None, f"{path}:3")
    assert (second.text, second.negative, second.width, second.height) == ("初音ミク, smile", "低画质", 504, 64)


def test_toml_shares_and_overrides(tmp_path: Path) -> None:
    shared = '[prompt]\nwidth = 640\nnegative_prompt = "bad"\nscale = 5\n\n'
    text = shared + '[[prompt.subset]]\nprompt = "a"\n\n[[prompt.subset]]\nprompt = "b"\nwidth = 512\nkarras = true\nstrength = 0.5\n'
    first, second = promptfile.read(write(tmp_path, "p.toml", text))
    assert (first.text, first.width, first.negative, first.scale) == ("a", 640, "bad", 5.0)
    assert (second.text, second.width, second.karras, second.strength) == ("b", 512, True, 0.5)


def test_toml_with_one_prompt(tmp_path: Path) -> None:
    (only,) = promptfile.read(write(tmp_path, "p.toml", '[prompt]\nprompt = """a cat\non a mat"""\nsample_steps = 12\n'))
    assert (only.text, only.steps) == ("a cat on a mat", 12)


def test_json_of_objects_and_lines(tmp_path: Path) -> None:
    first, second = promptfile.read(write(tmp_path, "p.json", '[{"prompt": "a", "seed": 3, "sample_sampler": "Euler"}, "b --d 4"]'))
    assert (first.seed, first.sampler, second.text, second.seed) == (3, "euler", "b", 4)


FLAWS = [
    ("p.txt", "ok\na cat --q 3\n", ":2", "no prompt option `--q`", "--n, --w"),
    ("p.txt", "a cat --cn pose.png", ":1", "ControlNet", "take it out"),
    ("p.txt", "a cat --g 3", ":1", "FLUX", "take it out"),
    ("p.txt", "a cat --sampler ddim", ":1", "`--sampler`", "`--ss`"),
    ("p.txt", "a cat --w 512px", ":1", "`--w` is '512px'", "width"),
    ("p.txt", "a cat --w 100000", ":1", "64 to 8192", "width"),
    ("p.txt", "a cat --s 0", ":1", "1 to 1000", "steps"),
    ("p.txt", "a cat --d 1.5", ":1", "a whole number", "seed"),
    ("p.txt", "a cat --w 8 --w 16", ":1", "twice", "one of them"),
    ("p.txt", "a cat --ss eulr", ":1", "no sampler `eulr`", "`euler`"),
    ("p.txt", "a cat <lora:me:1>", ":1", "`<lora:me:1>`", "--am"),
    ("p.txt", "# nothing\n\n", "", "no prompt in this file", "one a line"),
    ("p.toml", '[prompt]\n[[prompt.subset]]\nprompt = "a"\n[[prompt.subset]]\nprompt = "b"\nsed = 1\n', ":6", "`sed`", "`seed`"),
    ("p.toml", '[prompt]\nwidth = "wide"\n[[prompt.subset]]\nprompt = "a"\nwidth = 512\n', ":2", "'wide'", "width"),
    ("p.toml", '[prompt]\nprompt = a cat\n', ":2", "not valid TOML", "quotes"),
    ("p.toml", '[prompts]\nprompt = "a"\n', ":1", "`prompts`", "under one of them"),
    ("p.toml", '[prompt]\n[prompt.subset]\nprompt = "a"\n', ":2", "no list of tables", "two brackets"),
    ("p.json", '[\n{"prompt": "a"\n]', ":3", "not valid JSON", "commas"),
    ("p.json", '{"prompt": "a"}', ":1", "a list", "[ and ]"),
    ("p.json", "[1]", ":1", "is no prompt", "--d 42"),
    ("p.json", '[{"prompt": "a", "controlnet_image": "x"}]', ":1", "ControlNet", "take it out"),
    ("p.json", '[\n"a",\n{"seed": 1,\n"prompt": 3}]', ":4", "`prompt` is 3", "quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "place", "message", "hint"), FLAWS)
def test_flaws_are_named_with_their_place(tmp_path: Path, name: str, text: str, place: str, message: str, hint: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(UserError) as caught:
        promptfile.read(path, samplers=("euler", "ddim"))
    assert caught.value.where == f"{path}{place}"
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("a cat\n初音".encode("gbk"))
    with pytest.raises(UserError, match="not in UTF-8") as caught:
        promptfile.read(path)
    assert caught.value.where == f"{path}:2"


def test_missing_file_names_the_near_one(tmp_path: Path) -> None:
    near = write(tmp_path, "prompts.txt", "a")
    with pytest.raises(UserError) as caught:
        promptfile.read(tmp_path / "promts.txt")
    assert str(near) in caught.value.hint


@pytest.mark.parametrize("setting", ["a photo of a cat, best quality", "a" * 400 + " cat", "x/1girl, solo"])
def test_a_prompt_in_place_of_a_file(setting: str) -> None:
    with pytest.raises(UserError, match="reads like a prompt"):
        promptfile.read(Path(setting))


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this is a folder"):
        promptfile.read(tmp_path)


def test_drawn_seeds_repeat_and_differ() -> None:
    def seeds(run: int) -> list[int]:
        return [settle(parse_line("a"), i, size=(512, 512), sampler="ddim", karras=False, run_seed=run).seed for i in range(4)]

    assert seeds(1) == seeds(1) and len({*seeds(1), *seeds(2)}) == 8
