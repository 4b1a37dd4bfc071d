"""What the host waits for in a step of each optimizer: one entry a row of `OPTIMIZERS`, and the table in docs/measurements.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.optimization.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Waits:
    """Of one optimizer step, with clipping and loss scaler."""

    each: int = 0  # reads for each tensor that is trained
    scaler: int = 1  # reads of fp16's loss scaler; AdamW's fused kernel sees an overflow by itself
    synchronize: int = 0  # calls of `torch.cuda.synchronize` for each tensor that is trained

    def step(self, format: str, tensors: int) -> dict[str, int]:
        """What is counted."""
        return {"reads": self.each * tensors + (self.scaler if format == "fp16" else 0), "synchronize": self.synchronize * tensors}


WAITS = {
    "AdamW": Waits(scaler=0),
    # From the source of bitsandbytes 0.50.2, optim/optimizer.py: `sync_gpu(p)` after each tensor's update. Counted where it is installed.
    "AdamW8bit": Waits(synchronize=1),
    "Lion": Waits(),
    "Adafactor": Waits(each=1),
    "Prodigy": Waits(each=2),
}


def test_every_optimizer_has_an_entry() -> None:
    assert list(WAITS) == [row.name for row in OPTIMIZERS], "count a step of the new one: tests/cuda/optimizer_reads.py"


def test_the_documents_table_says_the_same(root: Path) -> None:
    text = (root / "docs/measurements.md").read_text(encoding="utf-8")
    head = "| optimizer | reads, bf16 and fp32 | reads, fp16 | calls of `synchronize` |\n|---|---|---|---|\n"
    rows = "\n".join(line(name) for name in WAITS)
    assert text.partition(head)[2].startswith(f"{rows}\n\n"), rows


def line(name: str) -> str:
    """A row of the document's table."""
    waits = WAITS[name]
    reads = f"{waits.each} a tensor" if waits.each else "0"
    fp16 = " + ".join(part for part in (str(waits.scaler) if waits.scaler else "", reads if waits.each else "") if part) or "0"
    return f"| {name} | {reads} | {fp16} | {f'{waits.synchronize} a tensor' if waits.synchronize else 0} |"


@pytest.fixture(scope="module")
def measured(pretended: Callable[..., dict]) -> dict:
    """A step of every optimizer that can be imported here."""
    answer = pretended(call="tests.cuda.optimizer_reads:measure")
    assert not answer["error"]
    return answer["result"]


@pytest.mark.slow
@pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda row: row.name)
def test_a_step_waits_as_often_as_its_entry_says(measured: dict, row) -> None:  # type: ignore[no-untyped-def] # pytest's own
    check(row.name, measured[row.name])


def check(name: str, steps: dict) -> None:
    """Hold what was counted against the entry. Skips, and says so, where the optimizer's package is missing."""
    from tests.cuda.optimizer_reads import FORMATS, TENSORS

    if not steps:
        package = next(row.package for row in OPTIMIZERS if row.name == name)
        assert package, name
        pytest.skip(f"{package} is not installed: the entry stands as read in its source, {line(name)}")
    assert steps == {format: [WAITS[name].step(format, tensors) for tensors in TENSORS] for format in FORMATS}
