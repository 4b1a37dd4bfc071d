"""The trials of a card: what works says nothing; every way to fail is told in a line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine import trials

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that a CPU, slow in fp16, computes at once."""
    monkeypatch.setattr(trials, "_CHANNELS", 64)
    monkeypatch.setattr(trials, "_SIDE", 8)


def test_a_device_that_computes() -> None:
    assert trials.card(CPU) == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_a_card_that_cannot_compute_says_why() -> None:
    assert trials.card(torch.device("cuda", 1)).startswith("AssertionError: Torch not compiled with CUDA")


def test_a_card_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape, device=device) * 2)
    assert trials.card(CPU) == "ArithmeticError: a sum that is 266240 came out as 1056768"


@pytest.mark.usefixtures("small")
def test_fp16_that_works() -> None:
    assert trials.fp16(CPU) == ""


def only_in_fp16(wrong: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda tensor: wrong(tensor) if tensor.dtype == torch.float16 else tensor


class BreaksGradient(torch.autograd.Function):
    """Gives its input on, and NaN back."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * float("nan")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("operation", "wrong", "said"),
    [
        ("conv2d", lambda it: it * float("nan"), "ArithmeticError: the output, the input's gradient"),
        ("conv2d", lambda it: it * float("inf"), "ArithmeticError: the output"),
        ("conv2d", lambda it: it * 1.5, "ArithmeticError: the output"),
        ("conv2d", BreaksGradient.apply, "ArithmeticError: the input's gradient, the convolution's gradient of a trial block came out"),
        ("scaled_dot_product_attention", BreaksGradient.apply, "ArithmeticError: the input's gradient"),
        ("group_norm", lambda it: it * 0, "ArithmeticError: the output"),
        ("linear", lambda it: it.no_such_kernel(), "AttributeError: 'Tensor' object has no attribute 'no_such_kernel'"),
    ],
)
def test_fp16_that_does_not(monkeypatch: pytest.MonkeyPatch, operation: str, wrong: Callable[[Tensor], Tensor], said: str) -> None:
    right = getattr(F, operation)
    spoil = only_in_fp16(wrong)
    monkeypatch.setattr(F, operation, lambda *given, **options: spoil(right(*given, **options)))
    assert trials.fp16(CPU).startswith(said)


def test_full_memory_says_nothing_of_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32, which a fault leads to, would take twice the memory."""

    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(trials, "_block", full)
    assert trials.fp16(CPU) == ""


def test_every_card_is_tried_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, major, minor, total_memory = "NVIDIA GeForce", 8, 6, 8 << 30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Properties)
    monkeypatch.setattr(trials, "card", lambda device: "no kernel image" if device.index == 1 else "")
    card = {"name": "NVIDIA GeForce", "capability": [8, 6], "bytes": 8 << 30}
    assert trials.answer()["cards"] == [{**card, "fault": ""}, {**card, "fault": "no kernel image"}]
