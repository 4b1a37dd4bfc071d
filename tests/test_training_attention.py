"""xformers' attention is used where it works, and PyTorch's elsewhere, which is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from runs import config, quiet
from torch import Tensor

from engine.config.schema import Config, TrainingConfig
from engine.device import Compute
from engine.training import attention
from engine.training import train as training

CPU, CARD = Compute(torch.device("cpu"), "no", "the CPU"), Compute(torch.device("cuda"), "bf16", "a card")
ASKED = Config(training=TrainingConfig(xformers=True, seed=7))
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[Attention], None]:
    """`kernels(attention)`: an xformers with this attention, computed on the CPU."""

    def make(compute: Attention) -> None:
        package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
        ops.memory_efficient_attention = compute  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "xformers", package)
        monkeypatch.setitem(sys.modules, "xformers.ops", ops)
        monkeypatch.setattr(attention, "attend", lambda device, dtype, use=attention.attend: use(torch.device("cpu"), dtype))

    return make


def no_operator(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    raise NotImplementedError("No operator found for `memory_efficient_attention_forward` with inputs:\n  query: ...")


def only_in_half(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if query.dtype == torch.float32:
        raise NotImplementedError("No operator found in fp32")
    return F.scaled_dot_product_attention(query, key, value)


def without_gradient(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value).detach()


def nothing_back(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key.detach(), value.detach()) + 0 * key.sum() * float("nan")


def test_it_stays_on_where_it_works(kernels: Callable[[Attention], None]) -> None:
    tried: list[tuple[torch.dtype, int]] = []

    def compute(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tried.append((query.dtype, query.shape[-1]))
        return F.scaled_dot_product_attention(query, key, value)

    kernels(compute)
    assert attention.settle(ASKED, CARD) == (ASKED, [])
    assert tried == [(dtype, width) for dtype in (torch.float32, torch.bfloat16) for width in (40, 64, 80, 160)]


@pytest.mark.parametrize(
    ("compute", "why"),
    [
        (no_operator, "NotImplementedError: No operator found for `memory_efficient_attention_forward` with inputs:"),
        (only_in_half, "NotImplementedError: No operator found in fp32"),
        (without_gradient, "RuntimeError: element 0 of tensors does not require grad"),
        (nothing_back, "ArithmeticError: its attention of width 40 gives other numbers than PyTorch's in torch.float32"),
        (lambda query, key, value: query * 1.0, "ArithmeticError: its attention of width 40 gives other numbers"),
        (lambda query, key, value: query.no_such(), "AttributeError: 'Tensor' object has no attribute 'no_such'"),
    ],
)
def test_where_it_does_not_work_pytorchs_is_used(kernels: Callable[[Attention], None], compute: Attention, why: str) -> None:
    kernels(compute)
    settled, (told,) = attention.settle(ASKED, CARD)
    assert not settled.training.xformers and settled.training.seed == 7
    assert told.startswith(f"xformers cannot be used here ({why}") and "PyTorch's own attention is" in told
    assert sys.modules["xformers"] is None  # diffusers does not find it either


def test_on_the_cpu_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "attend", pytest.fail)
    settled, (told,) = attention.settle(ASKED, CPU)
    assert not settled.training.xformers and told.startswith("xformers cannot be used here (it needs an NVIDIA card)")
    for compute in (CPU, CARD):
        assert attention.settle(Config(), compute) == (Config(), [])


def test_a_run_goes_on_without_it_and_says_so(tmp_path: Path, micro_sd: Path, pictures: Callable[..., list[Path]]) -> None:
    """Also in the settings that are written down with it."""
    pictures(tmp_path / "data" / "1_dot", ((64, 64),))
    where = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--device", "cpu", "--xformers"]
    reporter, said = quiet()
    run = training.understand(config(tmp_path, *where, "--resolution", "64", "--min_bucket_reso", "64"), (), reporter)
    assert not run.config.training.xformers
    assert "PyTorch's own attention is" in said.getvalue()
