"""The figures of a run: TensorBoard reads its log, a log that cannot be written is given up, and broken numbers end a training in time."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from engine.training.console import Meter, Reporter
from engine.training.loop import Update
from engine.training.metrics import Sums
from engine.training.progress import Diverged, Log, Progress

CPU = torch.device("cpu")


def progress(sums: Sums, *, log: Log | None = None, forgives: bool = False) -> Progress:
    """Figures of a run of 20 steps, read every second step."""
    meter = Meter(Reporter(Console(file=io.StringIO())), 20, 1)
    return Progress(meter, sums, ["unet"], every=2, total=20, window=10, device=CPU, log=log, forgives=forgives)


def steps(shown: Progress, sums: Sums, losses: list[float], first: int = 1) -> None:
    for number, loss in enumerate(losses, first):
        sums.add("loss", torch.tensor([loss]))
        sums.add("gradient norm", torch.tensor(1.0))
        shown.after(Update(number, 1, (1,), number - 1, False), [1e-4])


def test_tensorboard_reads_the_log(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sums = Sums(CPU)
    shown = progress(sums, log=Log(tmp_path / "日誌" / "run", print))
    assert not (tmp_path / "日誌").exists()  # a run that ends before its first figures leaves no log
    steps(shown, sums, [1.0, 3.0, 5.0, 7.0])
    shown.close()
    read = EventAccumulator(str(tmp_path / "日誌" / "run"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"loss/current", "loss/average", "gradient_norm", "lr/unet"}
    assert [(event.step, event.value) for event in read.Scalars("loss/current")] == [(2, 2.0), (4, 6.0)]
    assert [event.value for event in read.Scalars("loss/average")] == [2.0, 4.0]


def test_a_log_that_cannot_be_written_is_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told: list[str] = []
    log = Log(tmp_path / "file" / "run", told.append)
    for step in (1, 2):
        log.write(step, {"loss": 1.0})
    log.close()
    assert len(told) == 1 and f"TensorBoard's log {tmp_path / 'file' / 'run'} cannot be written" in told[0]


def test_one_broken_number_ends_a_training_that_cannot_leave_it_out() -> None:
    sums = Sums(CPU)
    shown = progress(sums)
    steps(shown, sums, [1.0, 1.0])
    with pytest.raises(Diverged, match="diverged.*step 4"):
        steps(shown, sums, [1.0, float("nan")], first=3)


def test_a_loss_scaler_leaves_broken_steps_out_but_not_all_of_them() -> None:
    sums = Sums(CPU)
    shown = progress(sums, forgives=True)
    steps(shown, sums, [1.0, float("inf")])
    assert shown.losses == {2: 1.0}
    with pytest.raises(Diverged, match="diverged"):
        steps(shown, sums, [float("nan")] * 2, first=3)


def test_a_loss_that_never_was_a_number_is_the_base_models() -> None:
    sums = Sums(CPU)
    with pytest.raises(Diverged, match="from the first step on: the base model"):
        steps(progress(sums), sums, [float("nan")] * 2)
