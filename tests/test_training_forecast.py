"""What a run says before it begins is true, and saying it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runs import config, quiet

from engine import files
from engine.data.buckets import BucketOptions
from engine.data.folder import Dataset, find
from engine.data.index import Index
from engine.data.scan import scan
from engine.models import recognise
from engine.models.tensor_sources import Source
from engine.training import forecast
from engine.training import train as training

Pictures = Callable[..., list[Path]]


def lines(folder: Path, reg: Path | None = None) -> list[str]:
    found = find(folder, reg)
    with Index(None) as index:
        return forecast.folder_lines(scan([Dataset(found.subsets, BucketOptions((64, 64), minimum=64))], index))


def test_a_line_a_folder_says_what_is_learned(tmp_path: Path, pictures: Pictures) -> None:
    pictures(tmp_path / "pics" / "6_miku 1girl", caption="miku, 1girl, smiling")
    pictures(tmp_path / "pics" / "1_sks dog")
    pictures(tmp_path / "pics" / "3_style", caption="")
    mixed = pictures(tmp_path / "pics" / "2_cup", caption="cup, red")
    mixed[0].with_suffix(".txt").unlink()
    pictures(tmp_path / "reg" / "1_1girl")
    assert sorted(lines(tmp_path / "pics", tmp_path / "reg")) == [
        "1_1girl: regularisation, 2 pictures x 1 repeat; captions from the folder's name, `1girl`",
        "1_sks dog: 2 pictures x 1 repeat; captions from the folder's name, `sks dog`; learns `sks dog`",
        "2_cup: 2 pictures x 2 repeats; captions from .txt files (1) and the folder's name, `cup` (1); learns `cup`",
        "3_style: 2 pictures x 3 repeats; captions from .txt files; learns no words; not `style`, which is in no caption",
        "6_miku 1girl: 2 pictures x 6 repeats; captions from .txt files; learns `miku`; not `miku 1girl`, which is in no caption",
    ]


def test_the_forecast_is_shown_and_changes_nothing(
    tmp_path: Path, micro_sd: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "data" / "2_sks cat", ((64, 64), (96, 64)), caption="sks cat, sitting")
    words = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--network_dim", "4"]
    words += ["--resolution", "64", "--max_train_steps", "4", "--device", "cpu", "--network_dropout", "0.2", "--log_every_n_steps", "1"]
    found = []
    for shortest in (0, 1000):
        monkeypatch.setattr(forecast, "_SHORT", shortest)
        reporter, said = quiet()
        found.append((training.train(config(tmp_path, *words), reporter=reporter), said.getvalue()))
    (told, text), (silent, without) = found
    assert "time         less than a minute (a step was tried)\n" in text and "time  " not in without
    assert "resolution   64 x 64\n" in text
    size = told.file.stat().st_size - files.read_header(told.file).data_start
    assert f"file to come {size / 2**20:.1f} MiB\n" in text
    assert told.losses == silent.losses
    hashes = [files.read_header(result.file).metadata["sshs_model_hash"] for result in (told, silent)]
    assert hashes[0] == hashes[1]


def test_the_time_grows_with_the_run(tmp_path: Path) -> None:
    assert [forecast.duration(amount) for amount in (20, 100, 4000, 7200, 360000)] == [
        "less than a minute", "about 2 minutes", "about 1 hour 7 minutes", "about 2 hours", "about 100 hours",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "side"),
    [("512x512", 512), ("1216 x 832", 1024), ("64x64", 64), ("", None), ("large", None), ("9999x9999", None), ("1x1", None)],
)
def test_the_resolution_that_a_models_file_names(said: str, side: int | None) -> None:
    assert recognise._resolution(Source(Path("x"), {}, {"modelspec.resolution": said})) == side


def test_without_a_resolution_the_models_own_is_taken_and_said(tmp_path: Path, micro_sd: Path, pictures: Pictures) -> None:
    pictures(tmp_path / "data" / "1_sks cat", ((200, 200),))
    reporter, said = quiet()
    words = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--device", "cpu"]
    run = training.understand(config(tmp_path, *words, "--max_train_steps", "1"), (), reporter)
    training.introduce(run, "x")
    assert "resolution   64 x 64, as its file says\n" in said.getvalue()
    assert run.plan.order.scan.items[0].placement.bucket == (64, 64)
