"""A step on the card that is here, seen by torch's profiler and by its allocator."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from runs import config, quiet
from torch.autograd import DeviceType

from benchmarks import step
from benchmarks.counts import Count
from engine.training import loop
from engine.training import train as training
from engine.training.metrics import Sums
from engine.vram.estimate import predict
from engine.vram.exact import model_of
from engine.vram.load import Pictures, asked
from tests.cuda import cases, pretended

pytestmark = pytest.mark.gpu


@pytest.fixture
def on_pretended() -> bool:
    """Whether the card is a pretended one, which has no kernels and no memory."""
    assert torch.cuda.is_available(), "-m gpu needs an NVIDIA card; without one: python -m tests.cuda.pretend pytest -m gpu tests/gpu"
    return torch.cuda.get_device_name() == pretended.Model.name


@pytest.mark.parametrize("model", [cases.SD, cases.SDXL], ids=["sd", "sdxl"])
def test_the_profiler_sees_what_is_counted(
    model: Sequence[str], tmp_path: Path, on_pretended: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third update: no copy to the host, no wait, and a kernel or a few for each operation."""
    size = ("--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "4", "--max_train_steps", "3", "--network_train_unet_only")
    loaded = training.load(training.understand(config(tmp_path, *model, "--train_data_dir", "train_data/demo", *size), (), quiet()[0]))
    compute, methods = loaded.run.compute, loaded.networks.methods
    tuned, sums = training.make_optimization(loaded.run, loaded.networks), Sums(compute.device)
    with training.batches(loaded) as batches:

        def go(updates: Sequence[loop.Update]) -> None:
            loop.run(updates, batches, loaded.step, tuned, methods, sums, lambda _: None, lambda: False)
            torch.cuda.synchronize()

        updates = list(loaded.run.plan.updates())
        go(updates[:2])
        with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile, Count() as count:
            go(updates[2:])
    events = profile.events() or []
    kernels = [event.name for event in events if event.device_type == DeviceType.CUDA and not event.name.startswith("Mem")]
    copies = [event.name for event in events if event.name.startswith("Memcpy DtoH")]
    calls = Counter(event.name for event in events if event.name.startswith("cuda"))
    with capsys.disabled():  # for the file of results
        sys.stdout.write(f"\n{json.dumps({'operations': count.operations.total(), 'kernels': len(kernels), 'calls': dict(calls)})}\n")
    assert count.operations.total() > 1000
    assert not count.reads
    if on_pretended:
        return
    assert not copies
    assert not calls["cudaStreamSynchronize"]
    assert 0.8 * count.operations.total() < len(kernels) < 3 * count.operations.total(), calls


def predicted(folder: Path, model: str, settings: Sequence[str]) -> int:
    """Bytes that a step of `benchmarks.step` with these settings takes at most on the card."""
    family, side = {"sd15": ("sd1", 512), "sdxl": ("sdxl", 1024)}[model]
    given = config(folder, "--family", family, "--network_dim", "32", "--network_train_unet_only", *settings)
    return predict(asked(given, model_of(given), "bf16", Pictures(batch=1, pixels=side * side))).peak("step")


@pytest.mark.parametrize(
    ("model", "settings"),
    [("sd15", ()), ("sd15", ("--gradient_checkpointing",)), ("sdxl", ("--gradient_checkpointing",))],
    ids=["sd15", "sd15 checkpointed", "sdxl checkpointed"],
)
def test_a_step_takes_the_memory_that_was_predicted(
    tmp_path: Path, model: str, settings: Sequence[str], on_pretended: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within 10 %, full size, batch 1."""
    expected = predicted(tmp_path, model, settings)
    if on_pretended:
        pytest.skip("a pretended card has no memory")
    step.main([model, "--precision", "bf16", "--steps", "4", "--pictures", "2", "--captions", "16", *settings])
    found = json.loads(capsys.readouterr().out)["step_memory"]["vram_allocated_bytes"]
    assert abs(found - expected) <= 0.1 * found, (found, expected)
