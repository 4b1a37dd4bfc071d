"""The errors of a card, spelled as torch, CUDA and its libraries spell them; what is said names no cause that was not tested."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from engine import cuda_errors
from engine.cuda_errors import DRIVER, FULL, GONE, MACHINE_FULL, NO_KERNEL, NO_PAGES, OTHER, PERHAPS_FULL, CardError, Kind
from engine.errors import UserError

LONG = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.20 GiB is free. Including "
    "non-PyTorch memory, this process has 6.50 GiB memory in use. Of the allocated memory 6.00 GiB is allocated by PyTorch. If reserved "
    "but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF"
)
SEARCH = "\nSearch for `cudaErrorX' in https://docs.nvidia.com for more information.\nCUDA kernel errors might be asynchronously reported\n"
SPELLINGS: list[tuple[Exception, Kind]] = [
    (torch.OutOfMemoryError(LONG), FULL),
    (torch.OutOfMemoryError("Allocation on device"), FULL),
    (torch.AcceleratorError(f"CUDA error: out of memory{SEARCH}"), FULL),
    (RuntimeError("CUDA error: out of memory"), FULL),
    (RuntimeError("CUDA driver error: out of memory"), FULL),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), FULL),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), FULL),
    (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), PERHAPS_FULL),
    (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), PERHAPS_FULL),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), PERHAPS_FULL),
    (RuntimeError("FIND was unable to find an engine to execute this computation"), PERHAPS_FULL),
    (RuntimeError("GET was unable to find an engine to execute this computation"), PERHAPS_FULL),
    (RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1015, please report'), PERHAPS_FULL),
    (MemoryError(), MACHINE_FULL),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."),
        MACHINE_FULL,
    ),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to ..."), MACHINE_FULL),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), MACHINE_FULL),
    (OSError("The paging file is too small for this operation to complete. (os error 1455)"), NO_PAGES),
    (torch.AcceleratorError(f"CUDA error: no kernel image is available for execution on the device{SEARCH}"), NO_KERNEL),
    (RuntimeError("CUDA driver version is insufficient for CUDA runtime version"), DRIVER),
    (torch.AcceleratorError(f"CUDA error: unspecified launch failure{SEARCH}"), GONE),
    (torch.AcceleratorError(f"CUDA error: device-side assert triggered{SEARCH}"), GONE),
    (torch.AcceleratorError(f"CUDA error: the launch timed out and was terminated{SEARCH}"), GONE),
    (torch.AcceleratorError(f"CUDA error: an illegal memory access was encountered{SEARCH}"), GONE),
    (torch.AcceleratorError(f"CUDA error: unknown error{SEARCH}"), GONE),
    (RuntimeError("CUDA error: device lost"), GONE),
    (RuntimeError("Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost"), GONE),
    (torch.AcceleratorError(f"CUDA error: invalid argument{SEARCH}"), OTHER),
    (RuntimeError("CUDA driver error: unknown error"), OTHER),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), OTHER),
]
NONE_OF_THESE = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("an unknown error of ours"),
    ValueError("CUDA error: unknown error"),
    UserError("CUDA out of memory"),
    OSError(errno.ENOSPC, "No space left on device"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize(("error", "kind"), SPELLINGS, ids=[f"{type(error).__name__}: {str(error)[:50]}" for error, _ in SPELLINGS])
def test_every_spelling_is_known(error: Exception, kind: Kind) -> None:
    assert cuda_errors.kind_of(error) is kind
    told = cuda_errors.explained(error, "do with less", on_card=True)
    assert told is not None and told.kind is kind and told.message.startswith(kind.told)
    assert str(error).partition("\n")[0][:40] in told.message, "what was reported is passed on"
    assert "\n" not in told.message and "Search for" not in told.message and len(told.message) < 300
    assert ("do with less" in told.hint) is (kind in (FULL, PERHAPS_FULL)) and "{" not in told.hint and told.hint


def test_windows_says_it_in_the_users_language() -> None:
    error = OSError("頁面檔太小，無法完成操作。")
    error.winerror = 1455  # type: ignore[attr-defined]  # Windows' Python sets it
    assert cuda_errors.kind_of(error) is NO_PAGES


@pytest.mark.parametrize("error", NONE_OF_THESE, ids=repr)
def test_other_errors_stay_what_they_are(error: BaseException) -> None:
    assert cuda_errors.explained(error, "", on_card=True) is None


def test_what_is_explained_stays_as_it_is() -> None:
    told = CardError(FULL, "full", "less")
    assert cuda_errors.explained(told, "", on_card=True) is told


def test_less_of_the_card_is_no_advice_for_a_full_machine() -> None:
    on_card = cuda_errors.explained(MemoryError(), "a smaller batch", on_card=True)
    on_cpu = cuda_errors.explained(MemoryError(), "a smaller batch", on_card=False)
    assert on_card is not None and on_cpu is not None
    assert "a smaller batch" not in on_card.hint and on_cpu.hint == "a smaller batch"
    assert on_cpu.message == "this machine's memory is full"


def test_the_figures_of_full_memory_are_passed_on() -> None:
    assert cuda_errors.reported(torch.OutOfMemoryError(LONG)) == (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.20 GiB is free"
    )


def test_the_table_is_in_lower_case(root: Path) -> None:
    assert all(words == words.lower() for words, _ in cuda_errors._ROWS)
