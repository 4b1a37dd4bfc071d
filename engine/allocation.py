"""The memory of this process: what is kept, what is said when it is full. On a CPU the C library keeps what a step has freed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.errors import UserError

_NO_MEMORY = ("can't allocate memory", "not enough memory", "ALLOC_FAILED")  # torch on the CPU under Linux and Windows; CUDA's libraries
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed() -> None:
    """Keep what is freed in this process, where the C library is glibc.

    By itself it hands every large buffer back to the system, which gives it again page by page, each filled with zeros first: 17 to 29 %
    of a step of full-size SD 1.5 on two cores (docs/measurements.md).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


@contextmanager
def shortage_explained(remedy: str) -> Iterator[None]:
    """Turn a lack of memory inside the block into a UserError with that remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        used = f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GB" if torch.cuda.is_available() else "all"
        raise UserError(f"the card's memory is full (this run took up to {used} of it)", remedy) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(mark in str(error) for mark in _NO_MEMORY):
            raise
        raise UserError("this machine's memory is full", remedy) from error
