"""The memory of this process: what is kept, and what is given back.

On a CPU the C library keeps what a step has freed. On a card torch keeps what a phase has freed, until `new_phase`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine import cuda_errors

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed() -> None:
    """Keep what is freed in this process, where the C library is glibc.

    By itself it hands every large buffer back to the system, which gives it again page by page, each filled with zeros first: 17 to 29 %
    of a step of full-size SD 1.5 on two cores (docs/measurements.md).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def new_phase(device: torch.device) -> None:
    """What is done next begins with the memory that is in use, and its peak is its own.

    The card gets back what torch keeps of the last phase, whose pieces have other sizes than the next one needs: Windows would lend the
    PC's memory before torch gave them up.
    """
    give_back(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def give_back(device: torch.device) -> None:
    """What torch has kept of the card's memory is the card's again, but for what is in use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak(device: torch.device) -> int:
    """The most bytes of the card that torch has held since the phase began; 0 on the CPU."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


@contextmanager
def explained(device: torch.device, less: str) -> Iterator[None]:
    """Turn an error of the card, or a lack of memory, into a CardError. `less` says what takes less of the memory of `device`."""
    try:
        yield
    except Exception as error:
        told = cuda_errors.explained(error, less, on_card=device.type == "cuda")
        if told is None or told is error:
            raise
        try:
            raise told from error
        finally:
            del told  # with its own traceback it would be a circle, and hold the tensors of what failed until Python's collector runs
