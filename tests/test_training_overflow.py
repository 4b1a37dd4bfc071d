"""Runs whose steps change nothing: a gradient that overflows in fp16, a learning rate of 0. They are told, and never called done.

A CPU refuses fp16, so these runs compute in fp32 beside a loss scaler, and their gradients are broken by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import config, quiet

from engine import tensorfile
from engine.device import Compute
from engine.errors import UserError
from engine.training import train as training
from engine.training.optim import Optimization, Skips
from engine.training.session import Result

Pictures = Callable[..., list[Path]]
Train = Callable[..., tuple[Result, str]]


@pytest.fixture
def train(tmp_path: Path, micro_sd: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`train(broken, *flags)`: a run in which `broken(step)` says whose gradients overflow, steps from 1; what it leaves, what it said."""
    pictures(tmp_path / "data" / "20_dot", ((64, 64),) * 2)
    monkeypatch.setattr(Compute, "make_scaler", lambda self: torch.amp.GradScaler("cpu"))
    monkeypatch.setattr(Skips, "LIMIT", 4)  # tests/test_training_progress.py counts to twenty
    plain, done = Optimization.backward, []

    def run(broken: Callable[[int], bool], *flags: str) -> tuple[Result, str]:
        def backward(self: Optimization, loss: torch.Tensor) -> None:
            plain(self, loss)
            done.append(1)
            if broken(len(done)):
                with torch.no_grad():
                    self._params[0].grad.fill_(float("inf"))  # type: ignore[union-attr]  # as a layer that leaves fp16's range at any scale

        monkeypatch.setattr(Optimization, "backward", backward)
        done.clear()
        reporter, said = quiet()
        where = ("--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--output_name", "dot")
        size = ("--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "2", "--device", "cpu", "--network_train_unet_only")
        try:
            return training.train(config(tmp_path, *where, *size, *flags), reporter=reporter), said.getvalue()
        except UserError as error:
            raise UserError(f"{error.message} [{said.getvalue()}]", error.hint, where=error.where) from error

    return run


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / "output").rglob("*.safetensors"))


def test_steps_left_out_are_counted_and_told(train: Train) -> None:
    result, said = train(lambda step: step <= 2, "--max_train_steps", "4", "--log_every_n_steps", "3")
    assert result.step == 4
    assert "left out     2 steps of 4" in said and "2 skipped" in said
    assert any(bool(tensor.any()) for name, tensor in tensorfile.read(result.file).items() if "lora_up" in name)


@pytest.mark.parametrize("interval", ["1", "1000"])
def test_a_run_that_only_skips_ends_with_advice(tmp_path: Path, train: Train, interval: str) -> None:
    with pytest.raises(UserError, match="the last 4 steps were left out: their gradients overflow in fp16") as caught:
        train(lambda step: True, "--max_train_steps", "60", "--log_every_n_steps", interval, "--save_every_n_steps", "3")
    assert "mixed_precision = bf16" in caught.value.hint
    assert "no file is saved after step 3: nothing was learned" in caught.value.message
    assert "Done" not in caught.value.message
    assert not files_of(tmp_path)


def test_what_was_learned_before_is_saved(tmp_path: Path, train: Train) -> None:
    with pytest.raises(UserError, match="what was trained until step 6 is saved"):
        train(lambda step: step > 2, "--max_train_steps", "60", "--log_every_n_steps", "1000")
    assert [path.name for path in files_of(tmp_path)] == ["dot-step00000006.safetensors"]


def test_a_short_run_that_only_skips_is_not_done(tmp_path: Path, train: Train) -> None:
    with pytest.raises(UserError, match="nothing was learned: 3 steps of 3 left out") as caught:
        train(lambda step: True, "--max_train_steps", "3", "--log_every_n_steps", "2")
    assert "Done" not in caught.value.message and caught.value.where == "mixed_precision"
    assert not files_of(tmp_path)


def test_nor_is_one_that_continues_from_a_file(tmp_path: Path, train: Train) -> None:
    first, _ = train(lambda step: False, "--max_train_steps", "2")
    with pytest.raises(UserError, match="nothing was learned: 3 steps of 3 left out"):
        train(lambda step: True, "--max_train_steps", "3", "--network_weights", str(first.file))
    assert files_of(tmp_path) == [first.file]


def test_a_rate_of_0_teaches_nothing(tmp_path: Path, train: Train) -> None:
    with pytest.raises(UserError, match="nothing was learned: the learning rate was 0 until the end of step 1") as caught:
        train(lambda step: False, "--max_train_steps", "1", "--lr_scheduler", "constant_with_warmup", "--lr_warmup_steps", "5")
    assert caught.value.where == "lr_scheduler" and not files_of(tmp_path)


def test_what_the_file_cannot_hold_is_told(tmp_path: Path, train: Train) -> None:
    with pytest.raises(UserError, match="everything trained is too small for fp16") as caught:
        train(lambda step: False, "--max_train_steps", "2", "--learning_rate", "1e-12", "--save_precision", "fp16")
    assert "save_precision = float" in caught.value.hint and not files_of(tmp_path)
