"""Which device and number format a run uses. Both are tried, decided and said before anything is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine import allocation, doctor, trials
from engine.errors import UserError

PRECISION_NAMES = {"no": "fp32", "fp16": "fp16 with a loss scaler", "bf16": "bf16"}
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_AMPERE = 8  # the compute capability from which bf16 and TF32 run in hardware: RTX 30, A100
_TURING = (7, 5)
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # how many processes torchrun, accelerate and mpirun have started


@dataclass(frozen=True)
class Compute:
    """Where a run computes and in which format. The frozen model is kept in `dtype`; what is trained stays in fp32."""

    device: torch.device
    precision: str  # "no", "fp16", "bf16"
    name: str  # "NVIDIA GeForce RTX 4070", "the CPU"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of frozen weights and of activations."""
        return DTYPES[self.precision]

    def make_scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler fp16 needs, lest small gradients become zero; none in other formats."""
        return torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None


def choose(device: str | None, precision: str | None) -> tuple[Compute, list[str]]:
    """Decide device and format, with what should be said of the decision.

    `device` is "cpu", "cuda", "cuda:<n>" or None for the best there is. The first card that works is taken where none is named.
    Raises UserError where the settings ask for a card that is not here or does not work, where none works, and for one process of several.
    """
    _require_alone()
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = torch.device(device) if device else torch.device("cuda" if available else "cpu")
    if wanted.type == "cpu":
        return _on_cpu(precision, asked=device is not None)
    if not available:
        raise UserError(
            f"no NVIDIA card is usable here, and `device = {device}` names one",
            "leave `device` out to train on the CPU, or run `python -m engine doctor` to see what is wrong with the card",
            where="device",
        )
    if (wanted.index or 0) >= available:
        told = f"there is no card number {wanted.index}: this machine has {available}, counted from 0"
        raise UserError(told, "choose another, or leave `device` out", where="device")
    card, told_of_others = _working(range(available) if wanted.index is None else (wanted.index,))
    torch.cuda.set_device(card)
    compute, notices = _on_cuda(card, precision)
    return compute, [*told_of_others, *notices]


def _require_alone() -> None:
    """Raise UserError where a launcher has started several of this process; each would train the same and save over the others."""
    for name in _SIZES:
        size = os.environ.get(name, "")
        if size.isdecimal() and int(size) > 1:
            raise UserError(
                f"it says that this trainer was started {size} times at once; training on several cards is not available yet",
                "start it once, without `accelerate launch`, `torchrun` or `mpirun`; `device = cuda:1` chooses a card. "
                f"Where nothing started it several times, remove the variable {name}",
                where=name,
            )


def _working(numbers: Sequence[int]) -> tuple[torch.device, list[str]]:
    """The first of these cards on which something can be computed, and why not the ones before. Raises UserError where none works."""
    faults: list[str] = []
    for card in (torch.device("cuda", number) for number in numbers):
        fault = trials.card(card)
        name = f"{torch.cuda.get_device_name(card)} ({card})"
        if not fault:
            return card, [f"{'; '.join(faults)}: {name} is used instead"] if faults else []
        faults.append(f"{name} does not work: {fault}")
    hint = "`python -m engine doctor` tries every card; `device = cpu` trains on the CPU, tens of times slower"
    raise UserError("; ".join(faults), hint, where="device")


def _on_cpu(precision: str | None, *, asked: bool) -> tuple[Compute, list[str]]:
    if precision == "fp16":
        raise UserError("fp16 needs an NVIDIA card; this run is on the CPU", 'set mixed_precision = "no"', where="mixed_precision")
    allocation.keep_freed()
    chosen = Compute(torch.device("cpu"), precision or "no", "the CPU")
    if asked:
        return chosen, []
    if doctor.nvidia_cards():
        return chosen, ["there is an NVIDIA card, but torch cannot use it: this run is on the CPU; `python -m engine doctor` says why"]
    others = doctor.other_cards()
    why = f"{', '.join(others)} cannot be used for training, only NVIDIA cards can" if others else "no NVIDIA card was found"
    return chosen, [f"{why}: this run is on the CPU, which is fine for the built-in micro model and very slow for a real one"]


def _on_cuda(device: torch.device, wanted: str | None) -> tuple[Compute, list[str]]:
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    modern = capability[0] >= _AMPERE
    notices = []
    if torch.version.hip:
        notices.append(f"{name} runs through ROCm, which this trainer is not tested on")
    if wanted == "bf16" and not modern:
        notices.append(f"{name} has no bf16 in hardware (RTX 30 and newer have it): fp16 with a loss scaler is used instead")
    precision = wanted if wanted and (modern or wanted != "bf16") else "bf16" if modern else "fp16"
    if precision == "fp16":
        fault = _fp16_fault(device, name, capability)
        if fault:
            asked = ", though mixed_precision asks for fp16" if wanted == "fp16" else ""
            notices.append(f"fp16 does not work on {name} ({fault}): fp32 is used instead{asked}; it takes twice the memory")
            precision = "no"
    if precision == "no" and modern:
        notices.append(_told_of_fp32(name))
    return Compute(device, precision, name), notices


def _fp16_fault(device: torch.device, name: str, capability: tuple[int, int]) -> str:
    """Why fp16 does not work on this card, tried. Turns on cuDNN's search for the best kernel on a card that needs it for fp16.

    On Turing cards without tensor cores (GTX 16 and their kin) kernels that cuDNN chooses unsearched are known to give NaN. Elsewhere the
    search would only cost time, anew for every size of picture.
    """
    torch.backends.cudnn.benchmark = capability == _TURING and not has_tensor_cores(name)
    fault = trials.fp16(device)
    if fault:
        torch.backends.cudnn.benchmark = False
    return fault


def has_tensor_cores(name: str) -> bool:
    """Whether a card of capability 7.5 has tensor cores, by its name: all that are called RTX, and servers' T4, T10 and T40.

    >>> has_tensor_cores("NVIDIA GeForce RTX 2060"), has_tensor_cores("NVIDIA GeForce GTX 1660 Ti"), has_tensor_cores("NVIDIA T1000")
    (True, False, False)
    """
    return re.search(r"\bRTX\b|\bT(4G?|10|40)\b", name) is not None


def _told_of_fp32(name: str) -> str:
    """What fp32 means on a card that has TF32: PyTorch may round what goes into products, and does so in convolutions alone."""
    formats = {True: "TF32", False: "full fp32"}
    products, convolutions = formats[torch.backends.cuda.matmul.allow_tf32], formats[torch.backends.cudnn.allow_tf32]
    faster = 'mixed_precision = "bf16" is faster and takes half the memory'
    return f"fp32 on {name}: matrix products are computed in {products}, convolutions in {convolutions}, as PyTorch has it; {faster}"
