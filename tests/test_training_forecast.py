"""The forecast is true, and trying a step for it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runs import config, quiet

from engine import headers
from engine.training import forecast
from engine.training import train as training

Pictures = Callable[..., list[Path]]


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
    assert f"file to come {told.file.stat().st_size / 2**20:.1f} MiB\n" in text
    assert told.losses == silent.losses
    hashes = [headers.read(result.file).metadata["sshs_model_hash"] for result in (told, silent)]
    assert hashes[0] == hashes[1]


def test_the_time_grows_with_the_run(tmp_path: Path) -> None:
    assert [forecast.duration(amount) for amount in (20, 100, 4000, 7200, 360000)] == [
        "less than a minute", "about 2 minutes", "about 1 hour 7 minutes", "about 2 hours", "about 100 hours",
    ]  # fmt: skip
