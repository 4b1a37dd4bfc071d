"""The folder of a run: names that every system takes, one folder a run, and a folder that is given up only when nothing would be lost."""

from __future__ import annotations

import doctest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.training import runfolder
from engine.training.runfolder import LOG, SETTINGS, RunFolder, claim, file_name


def test_doctests() -> None:
    assert doctest.testmod(runfolder).failed == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("miku", "miku"),
        ("  miku 1girl  ", "miku_1girl"),
        ('<>:"/\\|?*', "_________"),
        ("a\tb\nc\x00d", "a_b_c_d"),
        ("miku...", "miku"),
        (". .", "._"),
        ("...", "lora"),
        ("", "lora"),
        (".safetensors", "lora"),
        ("a.safetensors.safetensors", "a.safetensors"),
        ("v1.5", "v1.5"),
        ("CON", "CON_"),
        ("nul.txt", "nul.txt_"),
        ("lpt9", "lpt9_"),
        ("com", "com"),
        ("console", "console"),
        ("初音 ミク", "初音_ミク"),
    ],
)
def test_a_text_as_a_file_name(text: str, name: str) -> None:
    assert file_name(text) == name


def test_names_of_the_files() -> None:
    folder = RunFolder(Path("o") / "miku", "miku")
    assert folder.final == Path("o/miku/miku.safetensors")
    assert [folder.at_epoch(epoch).name for epoch in (1, 1234567)] == ["miku-000001.safetensors", "miku-1234567.safetensors"]
    assert [folder.at_step(step).name for step in (1, 12345678)] == ["miku-step00000001.safetensors", "miku-step12345678.safetensors"]


def test_each_run_gets_the_next_name(tmp_path: Path) -> None:
    place = tmp_path / "輸出 夾" / "deep"
    (place / "miku_3").mkdir(parents=True)
    (place / "miku_4").write_bytes(b"a file is in the way too")
    assert [claim(place, "miku").name for _ in range(4)] == ["miku", "miku_2", "miku_5", "miku_6"]
    made = claim(place, "luka")
    assert made == RunFolder(place / "luka", "luka") and made.path.is_dir()


def test_runs_that_begin_at_once_get_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: claim(tmp_path, "miku").name, range(24)))
    assert sorted(names) == sorted(["miku", *(f"miku_{number}" for number in range(2, 25))])


def test_a_file_in_the_place_of_the_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "output").write_bytes(b"")
    with pytest.raises(UserError, match="this is a file, and runs need a folder") as caught:
        claim(tmp_path / "output", "miku")
    assert caught.value.where == str(tmp_path / "output") and "`output_dir`" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "stays"),
    [([], False), ([SETTINGS], False), ([SETTINGS, LOG], False), ([SETTINGS, LOG, "miku.safetensors"], True), (["samples.html"], True)],
)
def test_a_folder_is_given_up_only_where_nothing_was_made(tmp_path: Path, names: list[str], stays: bool) -> None:
    folder = claim(tmp_path, "miku")
    for name in names:
        (folder.path / name).write_bytes(b"x")
    folder.give_up()
    assert folder.path.exists() is stays
    assert not stays or sorted(path.name for path in folder.path.iterdir()) == sorted(names)
