"""The files that a run saves: names, which of them stay, numbers, metadata, and what is said where there is nothing to save."""

from __future__ import annotations

import doctest
import hashlib
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from training_facts import facts
from training_fakes import ALPHA, DOWN, UP, FixedMethod

from engine import headers, tensorfile
from engine.adapters.base import Diverged, NothingLearned
from engine.adapters.sizes import Sizes, told
from engine.config.schema import Config, SaveConfig
from engine.errors import UserError
from engine.training import export
from engine.training.export import Exporter, due
from engine.training.loop import Update
from engine.training.metadata import modelspec, run_metadata
from engine.training.runfolder import RunFolder


@pytest.fixture
def place(tmp_path: Path) -> RunFolder:
    """A run's folder with a space and Chinese in its path."""
    path = tmp_path / "輸出 夾" / "初音"
    path.mkdir(parents=True)
    return RunFolder(path, "初音")


def exporter(place: RunFolder, method: FixedMethod | None = None, **save: Any) -> Exporter:
    return Exporter(place, [method or FixedMethod()], Config(save=SaveConfig(**save)), facts(output_name=place.name))


def there(place: RunFolder) -> list[str]:
    """What stands in the folder, without the name of the run and the ending."""
    return sorted(path.name.removeprefix("初音").removesuffix(".safetensors") for path in place.path.iterdir())


def test_doctests() -> None:
    assert doctest.testmod(export).failed == 0


def test_names(place: RunFolder) -> None:
    """As sd-scripts gives them: six digits for an epoch, eight for a step."""
    made = exporter(place)
    made.after_epoch(7, 70)
    made.after_step(7, 75)
    assert made.kept == [place.path / "初音-000007.safetensors", place.path / "初音-step00000075.safetensors"]
    assert made.last(place.final, 8, 80) == (place.path / "初音.safetensors",)
    assert there(place) == ["", "-000007", "-step00000075"]
    assert made.kept == [place.at_epoch(7), place.at_step(75)]


# save_last_n_epochs, epochs between two files -> the epochs whose files are there after each save
EPOCHS: list[tuple[int | None, int, list[list[int]]]] = [
    (None, 1, [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]),
    (1, 1, [[1], [2], [3], [4]]),
    (2, 1, [[1], [1, 2], [2, 3], [3, 4]]),
    (3, 1, [[1], [1, 2], [1, 2, 3], [2, 3, 4]]),
    (1, 2, [[2], [4], [6]]),  # sd-scripts too counts files here
    (2, 3, [[3], [3, 6], [6, 9], [9, 12]]),
]


@pytest.mark.parametrize(("keep", "every", "expected"), EPOCHS)
def test_the_last_epochs_stay(place: RunFolder, keep: int | None, every: int, expected: list[list[int]]) -> None:
    made = exporter(place, save_last_n_epochs=keep)
    for number, epochs in enumerate(expected, start=1):
        made.after_epoch(every * number, 5 * every * number)
        assert there(place) == [f"-{epoch:06d}" for epoch in epochs]
        assert made.kept == [place.at_epoch(epoch) for epoch in epochs]


# save_last_n_steps -> the steps whose files are there after each save; one is made every 10 steps
STEPS: dict[int | None, list[list[int]]] = {
    None: [[10], [10, 20], [10, 20, 30], [10, 20, 30, 40], [10, 20, 30, 40, 50]],
    5: [[10], [20], [30], [40], [50]],
    9: [[10], [20], [30], [40], [50]],
    10: [[10], [10, 20], [20, 30], [30, 40], [40, 50]],
    11: [[10], [10, 20], [20, 30], [30, 40], [40, 50]],
    20: [[10], [10, 20], [10, 20, 30], [20, 30, 40], [30, 40, 50]],
    25: [[10], [10, 20], [10, 20, 30], [20, 30, 40], [30, 40, 50]],
    30: [[10], [10, 20], [10, 20, 30], [10, 20, 30, 40], [20, 30, 40, 50]],
    1000: [[10], [10, 20], [10, 20, 30], [10, 20, 30, 40], [10, 20, 30, 40, 50]],
}


@pytest.mark.parametrize(("keep", "expected"), STEPS.items())
def test_the_last_steps_stay(place: RunFolder, keep: int | None, expected: list[list[int]]) -> None:
    """A number of steps, not of files."""
    made = exporter(place, save_last_n_steps=keep)
    for number, steps in enumerate(expected, start=1):
        made.after_step(1, 10 * number)
        assert there(place) == [f"-step{step:08d}" for step in steps]
        assert made.kept == [place.at_step(step) for step in steps]


def test_the_steps_that_stay_are_those_of_sd_scripts(place: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which removes, after step s, the file of the last multiple of `save_every_n_steps` that lies more than n steps back."""
    monkeypatch.setattr(Exporter, "save", lambda self, path, epoch, step: (path,))
    rng = random.Random(11)
    for _ in range(60):
        every, keep = rng.randint(1, 12), rng.randint(1, 40)
        made, theirs = exporter(place, save_last_n_steps=keep), set[int]()
        for step in range(every, 15 * every, every):
            made.after_step(1, step)
            theirs.add(step)
            theirs.discard(max((old for old in range(0, step, every) if old < step - keep), default=0))
            assert made.kept == [place.at_step(old) for old in sorted(theirs)], (every, keep, step)


def test_epochs_and_steps_are_kept_apart(place: RunFolder) -> None:
    made = exporter(place, save_last_n_epochs=1, save_last_n_steps=5)
    for number in (1, 2, 3):
        made.after_epoch(number, 10 * number)
        made.after_step(number, 10 * number)
    made.last(place.final, 4, 40)
    assert there(place) == ["", "-000003", "-step00000030"]


def test_what_cannot_be_removed_stays_and_the_run_goes_on(place: RunFolder) -> None:
    """A folder in its place cannot be unlinked, as on Windows a file that another program holds open. One is gone already."""
    made = exporter(place, save_last_n_epochs=1, save_last_n_steps=1)
    made.after_epoch(1, 10)
    made.after_step(1, 10)
    held, gone = made.kept
    held.unlink()
    held.mkdir()
    gone.unlink()
    made.after_epoch(2, 20)
    made.after_step(2, 20)
    made.after_epoch(3, 30)
    assert there(place) == ["-000001", "-000003", "-step00000020"]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [(None, torch.float32), ("float", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)],
)
def test_the_number_format_of_a_file(place: RunFolder, precision: str | None, dtype: torch.dtype) -> None:
    tensors = tensorfile.read(exporter(place, save_precision=precision).save(place.final, 1, 1)[0])
    assert {name: (tensor.dtype, tensor.flatten()[0].item()) for name, tensor in tensors.items()} == {
        DOWN: (dtype, 0.5), UP: (dtype, 0.25), ALPHA: (dtype, 1.0),
    }  # fmt: skip


@pytest.mark.parametrize("changed", [{}, {"no_metadata": True}])
def test_the_metadata_of_a_file(place: RunFolder, monkeypatch: pytest.MonkeyPatch, changed: dict[str, bool]) -> None:
    """The run's and the Model Spec's at this moment, with this epoch and step, and the hashes over tensors and `ss_*` alone."""
    monkeypatch.setattr(export.time, "time", lambda: 1700001234.5)
    config, method, of_run = Config(save=SaveConfig(**changed)), FixedMethod(), facts(output_name="初音")
    Exporter(place, [method], config, of_run).save(place.final, 3, 17)
    ss = told(run_metadata(config, of_run, 3, 17, 1700001234.5), Sizes("2", "1.0", "", ""))
    spec = modelspec(config, of_run, 1700001234.5)
    found = headers.read(place.final)
    data = place.final.read_bytes()[found.data_start :]
    assert found.metadata == {
        **ss, **spec, "sshs_model_hash": hashlib.sha256(data).hexdigest(), "sshs_legacy_hash": hashlib.sha256(b"").hexdigest()[:8],
    }  # fmt: skip
    assert changed or (found.metadata["ss_epoch"], found.metadata["ss_steps"]) == ("3", "17")


NAN, INF = math.nan, math.inf
LR = "learning_rate"

# down, up, save_precision -> the error, what it says, the setting it names
BROKEN: dict[str, tuple[float, float, str | None, type[UserError], str, str]] = {
    "not a number": (NAN, 0.25, "fp16", Diverged, "the training has diverged: 1 of 3 trained tensors are not numbers", LR),
    "two of them": (NAN, -INF, "fp16", Diverged, "the training has diverged: 2 of 3 trained tensors are not numbers", LR),
    "in fp32 too": (INF, 0.25, None, Diverged, "the training has diverged: 1 of 3 trained tensors are not numbers", LR),
    "beside an empty up": (NAN, 0.0, "fp16", Diverged, "the training has diverged: 1 of 3 trained tensors", LR),
    "too large for fp16": (
        70000.0, 0.25, "fp16", Diverged, f"1 of the trained tensors hold values that fp16 cannot, such as `{DOWN}`", "save_precision",
    ),
    "one broken, one too large": (NAN, 70000.0, "fp16", Diverged, "the training has diverged: 2 of 3 trained tensors", LR),
    "nothing learned": (0.5, 0.0, "fp16", NothingLearned, "nothing was learned: the file would leave every layer as it is", LR),
    "nothing learned, fp32": (0.5, 0.0, "float", NothingLearned, "nothing was learned: the file would", LR),
    "too small for fp16": (0.5, 1e-9, "fp16", NothingLearned, "everything trained is too small for fp16", "save_precision"),
}  # fmt: skip


@pytest.mark.parametrize(("down", "up", "precision", "error", "told", "where"), BROKEN.values(), ids=BROKEN.keys())
def test_numbers_that_are_worth_nothing_are_not_saved(
    place: RunFolder, down: float, up: float, precision: str | None, error: type[UserError], told: str, where: str
) -> None:
    """Neither in the run's folder nor elsewhere, and an older file of that name stays."""
    place.final.write_bytes(b"older")
    made = exporter(place, FixedMethod(down, up), save_precision=precision)
    for save in (made.save, made.last):
        with pytest.raises(error) as caught:
            save(place.final, 1, 1)
        assert caught.value.message.startswith(told) and caught.value.where == where and caught.value.hint
        assert type(caught.value) is error
    assert there(place) == [""] and place.final.read_bytes() == b"older"
    with pytest.raises(error):
        made.after_step(1, 1)
    assert made.kept == []


@pytest.mark.parametrize(
    ("down", "up", "precision"), [(70000.0, 0.25, "bf16"), (70000.0, 0.25, "float"), (0.5, 1e-9, "bf16"), (0.0, 0.25, "fp16")]
)
def test_numbers_that_the_format_holds_are_saved(place: RunFolder, down: float, up: float, precision: str) -> None:
    made = exporter(place, FixedMethod(down, up), save_precision=precision).save(place.final, 1, 1)[0]
    assert tensorfile.read(made)[UP].float()[0, 0].item() == pytest.approx(up, rel=0.01)


REFUSED = "x" * 300  # a name that no system takes


def test_where_the_place_refuses_the_last_file_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "run" / f"{REFUSED}.safetensors"
    with pytest.raises(UserError, match="the LoRA was saved as") as caught:
        exporter(RunFolder(path.parent, "x")).last(path, 2, 9)
    elsewhere = next(tmp_path.glob("lora-*/*"))
    assert elsewhere.name == "x" * 40 + ".safetensors" and f"saved as {elsewhere} instead" in caught.value.message
    assert (caught.value.hint, caught.value.where) == ("it is complete: move it to where you want it", f"{str(path)[:80]}...")
    assert [headers.read(elsewhere).metadata[f"ss_{name}"] for name in ("epoch", "steps")] == ["2", "9"]


def test_where_no_place_takes_it_the_first_refusal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    path = tmp_path / "run" / f"{REFUSED}.safetensors"
    told = "neither would the temporary folder take it: what was trained since the last file is lost"
    with pytest.raises(UserError, match=told) as caught:
        exporter(RunFolder(path.parent, "x")).last(path, 2, 9)
    assert caught.value.message.startswith("this name is too long") and caught.value.hint
    assert caught.value.where == f"{str(path)[:80]}..."


def test_a_file_on_the_way_is_not_saved_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = exporter(RunFolder(tmp_path / "run", REFUSED))
    for save in (made.after_epoch, made.after_step):
        with pytest.raises(UserError, match="this name is too long"):
            save(1, 1)
    assert made.kept == [] and [path.name for path in tmp_path.rglob("*")] == ["run"]


# every n epochs, every n steps, step, epoch, whether that step ends the epoch -> due
DUE: list[tuple[int | None, int | None, int, int, bool, bool]] = [
    (None, None, 10, 2, True, False),
    (1, None, 10, 1, True, True),
    (1, None, 10, 1, False, False),
    (2, None, 10, 2, True, True),
    (2, None, 10, 3, True, False),
    (2, None, 10, 2, False, False),
    (None, 5, 10, 1, False, True),
    (None, 5, 11, 1, True, False),
    (None, 1, 1, 1, False, True),
    (None, 10, 5, 10, True, False),  # the step counts, not the epoch
    (3, None, 6, 2, True, False),  # and the other way round
    (2, 5, 10, 3, True, True),
    (2, 5, 11, 4, True, True),
    (2, 5, 11, 3, True, False),
    (0, 0, 10, 2, True, False),
]


@pytest.mark.parametrize(("epochs", "steps", "step", "epoch", "ends", "expected"), DUE)
def test_what_is_due(epochs: int | None, steps: int | None, step: int, epoch: int, ends: bool, expected: bool) -> None:
    assert due(epochs, steps, Update(step, epoch, (1,), 0, ends)) is expected
