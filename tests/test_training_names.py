"""Names of runs: one that the system does not take is refused before anything is loaded, and one that had to be changed is told."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import config, quiet

from engine import files, tensorfile
from engine.config.schema import Config
from engine.errors import UserError
from engine.generation import samples
from engine.generation.prompt import parse_line, settle
from engine.generation.samples import Moment
from engine.training import train as training
from engine.training.runfolder import RunFolder, claim

Pictures = Callable[..., list[Path]]
Claimed = Callable[[str], tuple[RunFolder, str]]


@pytest.fixture
def settings(tmp_path: Path, micro_sd: Path, pictures: Pictures) -> Callable[[str], Config]:
    """`settings(name)`: a run of one step of that name."""
    pictures(tmp_path / "data" / "1_dot", ((64, 64),))
    where = ("--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"))
    size = ("--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "2", "--device", "cpu", "--max_train_steps", "1")
    return lambda name: config(tmp_path, *where, *size, "--output_name", name)


@pytest.fixture
def claimed(settings: Callable[[str], Config]) -> Claimed:
    """`claimed(name)`: the folder of that run, and what was said until it was there."""

    def claim(name: str) -> tuple[RunFolder, str]:
        reporter, said = quiet()
        return training.claim_folder(training.understand(settings(name), (), reporter)), said.getvalue()

    return claim


@pytest.mark.parametrize("name", ["x" * 221, "x" * 255, "x" * 300, "名" * 75])
def test_a_name_that_is_too_long_is_refused_before_anything_is_encoded(
    tmp_path: Path, settings: Callable[[str], Config], name: str
) -> None:
    with pytest.raises(UserError, match="this name is too long for the system") as caught:
        training.train(settings(name), reporter=quiet()[0])
    assert "`output_name`" in caught.value.hint
    assert not (tmp_path / "cache" / "latents").exists()
    assert not list((tmp_path / "output").glob("*"))


def test_every_name_that_the_trial_lets_pass_can_be_written(tmp_path: Path) -> None:
    """Length by length, until one is refused: all files of a run with one picture, whose name is the longest."""
    shot = settle(parse_line("a cat --d 4294967295", "here", ()), 0, size=(64, 64), sampler="euler_a", karras=False, run_seed=1)
    for length in range(150, 256):
        folder = claim(tmp_path, "x" * length)
        try:
            folder.require_names(143, (shot,))
        except UserError as error:
            assert length > 190 and "too long" in error.message
            folder.give_up()
            assert not folder.path.exists()
            return
        picture = folder.path / "samples" / samples.picture_name(folder.name, Moment(143), 0, shot)
        for path in (folder.final, folder.at_epoch(12), folder.at_step(143), picture):
            files.write_bytes(path, b"x")
    pytest.fail("no length was refused")


def test_a_last_save_that_the_name_prevents_goes_to_another_place(
    tmp_path: Path, settings: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "require_names", lambda *anything: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserError, match="too long.*the LoRA was saved as") as caught:
        training.train(settings("x" * 240), reporter=quiet()[0])
    file = next(tmp_path.glob("lora-*/*.safetensors"))
    assert str(file) in caught.value.message
    assert tensorfile.read(file)


@pytest.mark.parametrize(
    ("given", "name", "told"),
    [
        ("miku.safetensors", "miku", False),
        ("miku.SafeTensors", "miku", False),
        ("my/lora", "my_lora", True),
        ("a:b*c", "a_b_c", True),
        ("con", "con_", True),
        ("miku", "miku", False),
    ],
)
def test_a_name_that_had_to_be_changed_is_told(claimed: Claimed, given: str, name: str, told: bool) -> None:
    folder, said = claimed(given)
    assert folder.final.name == f"{name}.safetensors" and folder.path.name == name
    assert (f"output_name `{given}` cannot be the name of a file: this run is called `{name}`" in said) is told


@pytest.mark.parametrize(
    ("error", "limit"),
    [(OSError(errno.ENAMETOOLONG, "File name too long"), 4095), (OSError(errno.ENOENT, "No such file or directory"), 30)],
    ids=["Linux", "Windows, whose open() says that a path of 260 characters does not exist"],
)
def test_how_systems_refuse_a_long_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, limit: int) -> None:
    monkeypatch.setattr(files, "_LONGEST_PATH", limit)
    with pytest.raises(UserError, match="this name is too long for the system: 3 characters"), files.explained(tmp_path / "abc"):
        raise error


def test_a_missing_folder_is_not_called_a_long_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"), files.explained(tmp_path / "abc"):
        raise OSError(errno.ENOENT, "No such file or directory")


def test_a_file_in_the_place_of_the_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(UserError, match="Not a directory"):
        files.write_bytes(tmp_path / "taken" / "x", b"x")


def test_trying_a_name_leaves_nothing_behind(tmp_path: Path) -> None:
    files.require_name(tmp_path / "new" / "a.safetensors")
    (tmp_path / "there").mkdir()
    files.require_name(tmp_path / "there" / "a.safetensors")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
