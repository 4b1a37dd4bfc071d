"""The figures of a run: TensorBoard reads its log, a log that cannot be written is given up, and broken numbers end a training in time."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
import torch
from rich.console import Console

from engine.adapters.base import Diverged
from engine.console import Meter, Reporter
from engine.training.loop import Update
from engine.training.metrics import Sums
from engine.training.optim import Skips
from engine.training.progress import Log, Overflow, Progress

CPU, INF, NAN = torch.device("cpu"), float("inf"), float("nan")


def progress(
    sums: Sums,
    *,
    log: Log | None = None,
    skips: Skips | None = None,
    every: int = 2,
    device: torch.device = CPU,
    out: io.StringIO | None = None,
) -> Progress:
    """Figures of a run of 200 steps, read every second step."""
    meter = Meter(Reporter(Console(file=out or io.StringIO(), width=200)), 200, 1)
    return Progress(meter, sums, ["unet"], every=every, total=200, window=10, device=device, log=log, skips=skips)


def steps(shown: Progress, sums: Sums, losses: list[float], first: int = 1, norms: list[float] | None = None) -> None:
    for number, (loss, norm) in enumerate(zip(losses, norms or [1.0] * len(losses), strict=True), first):
        sums.add("loss", torch.tensor([loss]))
        sums.add("gradient norm", torch.tensor(norm))
        if shown._skips:
            shown._skips.add(torch.tensor(norm))
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


def test_a_loss_scaler_leaves_broken_steps_out_and_they_are_counted() -> None:
    sums = Sums(CPU)
    shown = progress(sums, skips=Skips())
    steps(shown, sums, [1.0, INF], norms=[1.0, INF])
    steps(shown, sums, [NAN, NAN, 2.0, 2.0, 2.0], first=3, norms=[NAN, INF, 1.0, 1.0, INF])
    assert shown.losses == {2: 1.0, 6: 2.0}  # none for the interval without a loss
    assert shown.skipped == 3
    shown.count_rest()
    assert shown.skipped == 4


@pytest.mark.parametrize("every", [1, 7, 1000])
@pytest.mark.parametrize("good", [0, 1, 13, 100])
def test_twenty_steps_left_out_in_a_row_end_the_run_whatever_the_log_interval(every: int, good: int) -> None:
    sums = Sums(CPU)
    shown = progress(sums, skips=Skips(), every=every)
    steps(shown, sums, [1.0] * good, norms=[1.0] * good)
    steps(shown, sums, [1.0] * 19, first=good + 1, norms=[INF] * 19)
    with pytest.raises(Overflow, match="the last 20 steps were left out") as caught:
        steps(shown, sums, [1.0], first=good + 20, norms=[INF])
    assert "mixed_precision = bf16" in caught.value.hint
    assert shown.skipped == 20
    sums = Sums(CPU)
    shown = progress(sums, skips=Skips(), every=every)
    with pytest.raises(Diverged, match="from the first step on: the base model"):
        steps(shown, sums, [NAN] * 20, norms=[NAN] * 20)


def test_skips_are_found_where_they_are_and_read_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    monkeypatch.setattr(torch.Tensor, "__int__", lambda tensor: reads.append(1) or int(tensor.item()))
    source = random.Random(4)
    for _ in range(200):
        broken = [source.random() < source.choice((0.02, 0.5, 0.97)) for _ in range(100)]
        broken = [value for value in broken for _ in range(source.choice((1, 5, 9)))]
        expected = next((end for end in range(20, len(broken) + 1) if all(broken[end - 20 : end])), None)
        skips, found = Skips(), None
        for step, value in enumerate(broken, 1):
            skips.add(torch.tensor(INF if value else 1.0))
            if skips.stuck():
                found = step
                break
        assert found == expected
    reads.clear()
    skips = Skips()
    for _ in range(200):
        skips.add(torch.tensor(1.0))
        assert not skips.stuck()
    assert len(reads) == 10


def test_a_loss_that_never_was_a_number_is_the_base_models() -> None:
    sums = Sums(CPU)
    with pytest.raises(Diverged, match="from the first step on: the base model"):
        steps(progress(sums), sums, [float("nan")] * 2)


def test_the_memory_that_is_shown_is_the_trainings_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of pictures in between, nor less than it was before them."""
    peak, out = {"GB": 5}, io.StringIO()
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: peak["GB"] << 30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.update(GB=3))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    sums = Sums(CPU)
    shown = progress(sums, device=torch.device("cuda"), out=out)
    with shown.aside():
        peak["GB"] = 9
    steps(shown, sums, [1.0, 2.0])
    peak["GB"] = 6
    steps(shown, sums, [1.0, 2.0], first=3)
    assert [line.partition("VRAM ")[2].partition("  ")[0] for line in out.getvalue().splitlines()] == ["5.0 GB", "6.0 GB"]
