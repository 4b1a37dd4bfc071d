"""Nothing is read back from the device inside a step: whole updates on the micro models, counted; and a micro-step where reading fails.

In fp32, on the CPU. The other formats, whole commands and every optimizer are counted on a pretended card: tests/cuda.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import config, quiet

from benchmarks.counts import Count
from engine.data.batches import Batch
from engine.optimization.optimizers import find_optimizer
from engine.optimization.schedules import find_schedule
from engine.training import loop
from engine.training import train as training
from engine.training.metrics import Sums
from engine.training.optim import Optimization, RateRule, make_optimizer
from engine.training.train import Ready

Pictures = Callable[..., list[Path]]
CPU = torch.device("cpu")


@pytest.fixture
def load(tmp_path: Path, pictures: Pictures) -> Callable[..., Ready]:
    """`load(model, *flags)`: a run over four small pictures, ready for its first step."""
    pictures(tmp_path / "data" / "2_sks dot", ((64, 64),) * 4, caption="sks dot, grey")

    def make(model: Path, *flags: str) -> Ready:
        size = ("--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "4", "--device", "cpu", "--max_train_steps", "4")
        where = ("--pretrained_model_name_or_path", str(model), "--train_data_dir", str(tmp_path / "data"))
        return training.load(training.understand(config(tmp_path, *where, *size, *flags), (), quiet()[0]))

    return make


def optimization(loaded: Ready) -> Optimization:
    """The optimizer that the run's settings name."""
    settings = loaded.run.config.optimizer
    groups = [group for method in loaded.networks.methods for group in method.parameter_groups()]
    optimizer = make_optimizer(find_optimizer(settings.optimizer_type), groups, settings.optimizer_args)
    rule = RateRule(find_schedule("constant"), total=4, warmup=0, cycles=1, power=1.0)
    return Optimization(optimizer, groups, rule, max_grad_norm=1.0, scaler=None)


def second_update(loaded: Ready) -> Count:
    """What the loop's second update asks of the device: the optimizer's state is there, the batches are made."""
    updates = list(loaded.run.plan.updates())[:2]
    batches = iter([loaded.collate(planned) for planned, _ in zip(loaded.run.plan.order.batches(), range(4), strict=False)])
    tuned, methods, sums = optimization(loaded), loaded.networks.methods, Sums(CPU)

    def go(update: loop.Update) -> None:
        loop.run([update], batches, loaded.step, tuned, methods, sums, lambda _: None, lambda: False)

    go(updates[0])
    with Count() as count:
        go(updates[1])
    means, lost = sums.read()
    assert {"loss", "gradient norm"} <= means.keys()
    assert not lost
    return count


@pytest.mark.parametrize(
    "flags",
    [
        ("--network_train_unet_only",),
        ("--train_batch_size", "2", "--min_snr_gamma", "5", "--noise_offset", "0.1", "--lr_scheduler", "cosine"),
        ("--gradient_accumulation_steps", "2", "--gradient_checkpointing", "--scale_weight_norms", "1", "--network_args", "conv_dim=2"),
        ("--network_dropout", "0.1", "--network_args", "rank_dropout=0.1", "module_dropout=0.1", "--optimizer_type", "Lion"),
    ],
    ids=["unet only", "batch of 2 with text encoder", "accumulated and checkpointed", "dropout"],
)
def test_an_update_reads_nothing(load: Callable[..., Ready], micro_sd: Path, flags: tuple[str, ...]) -> None:
    count = second_update(load(micro_sd, *flags))
    assert count.operations.total() > 1000  # the backward pass was seen too
    assert count.operations["native_group_norm_backward"]
    assert not count.reads


def test_an_update_of_sdxl_reads_nothing(load: Callable[..., Ready], micro_sdxl: Path) -> None:
    assert not second_update(load(micro_sdxl, "--network_train_unet_only")).reads
    assert not second_update(load(micro_sdxl)).reads


def test_a_micro_step_works_where_nothing_can_be_read(load: Callable[..., Ready], micro_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, where tensors have no values: reading one, or copying it to the CPU, raises. Only the batch goes there."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # it does not know the meta device
    meta = torch.device("meta")
    loaded = load(micro_sd, "--min_snr_gamma", "5", "--v_parameterization")
    for network in (loaded.networks.unet, *loaded.networks.encoders.values(), *loaded.networks.methods[0].layers):
        network.to(meta)
    step, sums = replace(loaded.step, device=meta, tables=loaded.step.tables.to(meta)), Sums(meta)
    batch = loaded.collate(next(iter(loaded.run.plan.order.batches())))
    params = [param for method in loaded.networks.methods for group in method.parameter_groups() for param in group.params]
    with Count() as count:
        loss, each = step(batch)
        loss.backward()
        sums.add("loss", each)
        sums.add("gradient norm", torch.nn.utils.clip_grad_norm_(params, 1.0))
    assert count.operations["convolution_backward"]
    assert count.uploads.total() == tensors_in(batch)
    with pytest.raises(NotImplementedError, match="meta tensor"):
        sums.read()


def tensors_in(batch: Batch) -> int:
    with Count() as count:
        batch.to("meta")
    return count.uploads.total()
