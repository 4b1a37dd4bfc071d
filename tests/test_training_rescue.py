"""A card that fails while a run trains: what was trained is saved where it can be, and the last message says where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import config, quiet
from test_cuda_errors import SPELLINGS

from engine import tensorfile
from engine.adapters.method import LayerMethod
from engine.cuda_errors import FULL, CardError, Kind
from engine.training import train as training
from engine.training.loop import Update
from engine.training.previews import RunningPreviews
from engine.training.step import Step
from engine.training.stop import Stop
from engine.training.train import Ready

DEAD = torch.AcceleratorError("CUDA error: unspecified launch failure\nSearch for `cudaErrorLaunchFailure'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failing")


@pytest.fixture(scope="module")
def ready(folder: Path, root: Path) -> Ready:
    """A run of six steps that saves after each second, loaded once for all tests."""
    from PIL import Image

    (folder / "data" / "4_dot").mkdir(parents=True)
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(folder / "data" / "4_dot" / "a.png")
    base, data = root / "models" / "micro" / "micro-sd.safetensors", folder / "data"
    (folder / "prompts.txt").write_text("a dot --w 64 --h 64 --s 1\n", encoding="utf-8")
    paths = ["--pretrained_model_name_or_path", str(base), "--train_data_dir", str(data), "--device", "cpu", "--network_train_unet_only"]
    size = ["--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "2", "--train_batch_size", "2"]
    length = ["--max_train_steps", "6", "--save_every_n_steps", "2", "--learning_rate", "1e-2", "--log_every_n_steps", "1"]
    samples = ["--sample_prompts", str(folder / "prompts.txt"), "--sample_every_n_steps", "3"]
    return training.load(training.understand(config(folder, *paths, *size, *length, *samples), (), quiet()[0]))


def trained(ready: Ready) -> tuple[Path, str, CardError | None]:
    """The run once more: its folder, what it said, and what ended it."""
    reporter, said = quiet()
    run = replace(ready.run, reporter=reporter, shots=())
    return _gone(replace(ready, run=run, previews=replace(ready.previews, run=run)), said.getvalue)


def _gone(ready: Ready, said: Callable[[], str]) -> tuple[Path, str, CardError | None]:
    claimed = training.claim_folder(ready.run)
    try:
        training.go(ready, claimed, Stop(lambda text: None))
    except CardError as error:
        return claimed.path, said(), error
    return claimed.path, said(), None


def failing(ready: Ready, monkeypatch: pytest.MonkeyPatch, at: int, error: Exception, *, silent: bool) -> None:
    """The step `at`, counted from 1, raises; where `silent`, nothing trained can be read from then on. Steps before it are quick ones."""
    params = [param for method in ready.networks.methods for group in method.parameter_groups() for param in group.params]
    tensors, steps = LayerMethod.tensors, []

    def step(self: Step, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        steps.append(batch)
        if len(steps) >= at:
            raise error
        loss = torch.stack([param.square().sum() + param.sum() for param in params]).mean()
        return loss, loss.detach()[None]

    def read(self: LayerMethod, dtype: torch.dtype) -> object:
        if silent and len(steps) >= at:
            raise error
        return tensors(self, dtype)

    monkeypatch.setattr(Step, "__call__", step)
    monkeypatch.setattr(LayerMethod, "tensors", read)


@pytest.mark.parametrize(("error", "kind"), SPELLINGS, ids=[f"{type(error).__name__}: {str(error)[:50]}" for error, _ in SPELLINGS])
def test_what_was_trained_is_saved_or_the_last_file_is_named(
    ready: Ready, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: Kind
) -> None:
    """At the fourth of six steps; a file of the second is there."""
    failing(ready, monkeypatch, 4, error, silent=not kind.answers)
    path, said, ended = trained(ready)
    assert ended is not None and ended.kind is kind and ended.__cause__ is error and kind.told in ended.message
    rescued = path / f"{path.name}-step00000003.safetensors"
    if kind.answers:
        assert f"what was trained until step 3 is saved: {rescued}" in ended.message
        assert f"what was trained until step 3 is saved: {rescued}" in said
        assert all(bool(tensor.isfinite().all()) for tensor in tensorfile.read(rescued).values())
    else:
        assert not rescued.exists() and "it could not be read (" in said
        assert f"files of earlier steps are kept: {path / f'{path.name}-step00000002.safetensors'}" in ended.message
    log = (path / "train.log").read_text(encoding="utf-8")
    assert "ended by: " in log and "Traceback" in log


def test_a_first_step_that_fails_names_no_file(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(ready, monkeypatch, 1, torch.OutOfMemoryError("CUDA out of memory"), silent=False)
    path, _, ended = trained(ready)
    assert ended is not None and "nothing had been trained yet" in ended.message and not path.exists()


def test_the_hint_fits_the_settings(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(ready, monkeypatch, 2, torch.OutOfMemoryError("CUDA out of memory"), silent=False)
    _, _, ended = trained(ready)
    assert ended is not None and ended.hint.startswith("in this order: set gradient_checkpointing = true; set train_batch_size = 1 with ")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), DEAD], ids=["full", "dead"])
def test_sample_pictures_without_memory_cost_no_training(ready: Ready, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A card that does not answer ends the run at once."""

    def refuse(self: RunningPreviews, latents: object) -> object:
        raise error

    reporter, said = quiet()
    run = replace(ready.run, reporter=reporter)
    loaded = replace(ready, run=run, previews=replace(ready.previews, run=run))
    monkeypatch.setattr(RunningPreviews, "base", lambda self: None)
    monkeypatch.setattr(RunningPreviews, "_decode", refuse)
    path, _, ended = _gone(loaded, said.getvalue)
    if error is DEAD:
        assert ended is not None and f"is saved: {path / f'{path.name}-step00000003.safetensors'}" in ended.message
    else:
        assert ended is None and (path / f"{path.name}.safetensors").exists()
        assert FULL.told in said.getvalue() and "give the prompts smaller pictures" in said.getvalue()
        assert "the training continues\n" in said.getvalue()


def test_a_card_that_dies_at_the_last_pictures_leaves_the_file(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made after it is saved; the message names it."""
    monkeypatch.setattr(RunningPreviews, "base", lambda self: None)

    def make(self: RunningPreviews, update: Update, loss: float | None) -> None:
        if update.step == 6:
            with self._explained():
                raise DEAD

    monkeypatch.setattr(RunningPreviews, "make", make)
    reporter, said = quiet()
    run = replace(ready.run, reporter=reporter)
    path, _, ended = _gone(replace(ready, run=run, previews=replace(ready.previews, run=run)), said.getvalue)
    assert ended is not None and f"what was trained until step 6 is saved: {path / f'{path.name}.safetensors'}" in ended.message
