"""Which device and number format a run uses. Both are decided and said before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from accelerate import PartialState

from engine import allocation, doctor
from engine.errors import UserError

PRECISION_NAMES = {"no": "fp32", "fp16": "fp16 with a loss scaler", "bf16": "bf16"}
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_AMPERE = 8  # the compute capability from which bf16 runs in hardware: RTX 30, A100


@dataclass(frozen=True)
class Compute:
    """Where a run computes and in which format. The frozen model is kept in `dtype`; what is trained stays in fp32."""

    device: torch.device
    precision: str  # "no", "fp16", "bf16"
    name: str  # "NVIDIA GeForce RTX 4070", "the CPU"
    rank: int  # of this process, from accelerate
    processes: int

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of frozen weights and of activations."""
        return DTYPES[self.precision]

    def make_scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler fp16 needs, lest small gradients become zero; none in other formats."""
        return torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None


def choose(device: str | None, precision: str | None) -> tuple[Compute, list[str]]:
    """Decide device and format, with what should be said of the decision.

    `device` is "cpu", "cuda", "cuda:<n>" or None for the best there is.
    Raises UserError where the settings ask for a card that is not here.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = torch.device(device) if device else torch.device("cuda" if available else "cpu")
    if wanted.type == "cuda" and not available:
        raise UserError(
            f"no NVIDIA card is usable here, and `device = {device}` names one",
            "leave `device` out to train on the CPU, or run `python -m engine doctor` to see what is wrong with the card",
            where="device",
        )
    if wanted.type == "cuda" and (wanted.index or 0) >= available:
        told = f"there is no card number {wanted.index}: this machine has {available}, counted from 0"
        raise UserError(told, "choose another, or leave `device` out", where="device")
    if wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted.index)
    os.environ.setdefault("ACCELERATE_USE_CPU", "true" if wanted.type == "cpu" else "false")
    state = PartialState(cpu=wanted.type == "cpu")
    if state.num_processes > 1:
        told = f"this trainer was started {state.num_processes} times at once; training on several cards is not available yet"
        raise UserError(told, "start it once, without `accelerate launch`; `device = cuda:1` chooses a card", where="device")
    if wanted.type == "cpu":
        return _on_cpu(precision, state, asked=device is not None)
    return _on_cuda(torch.device("cuda", torch.cuda.current_device()), precision, state)


def _on_cpu(precision: str | None, state: PartialState, *, asked: bool) -> tuple[Compute, list[str]]:
    if precision == "fp16":
        raise UserError("fp16 needs an NVIDIA card; this run is on the CPU", 'set mixed_precision = "no"', where="mixed_precision")
    allocation.keep_freed()
    chosen = Compute(torch.device("cpu"), precision or "no", "the CPU", state.process_index, state.num_processes)
    if asked:
        return chosen, []
    if doctor.nvidia_cards():
        return chosen, ["there is an NVIDIA card, but torch cannot use it: this run is on the CPU; `python -m engine doctor` says why"]
    others = doctor.other_cards()
    why = f"{', '.join(others)} cannot be used for training, only NVIDIA cards can" if others else "no NVIDIA card was found"
    return chosen, [f"{why}: this run is on the CPU, which is fine for the built-in micro model and very slow for a real one"]


def _on_cuda(device: torch.device, precision: str | None, state: PartialState) -> tuple[Compute, list[str]]:
    name = torch.cuda.get_device_name(device)
    major = torch.cuda.get_device_capability(device)[0]
    notices = []
    if torch.version.hip:
        notices.append(f"{name} runs through ROCm, which this trainer is not tested on")
    if precision == "bf16" and major < _AMPERE:
        notices.append(f"{name} has no bf16 in hardware (RTX 30 and newer have it): fp16 with a loss scaler is used instead")
        precision = "fp16"
    chosen = precision or ("bf16" if major >= _AMPERE else "fp16")
    return Compute(device, chosen, name, state.process_index, state.num_processes), notices
