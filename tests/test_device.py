"""What choosing a device does to the process."""

from __future__ import annotations

import platform

import pytest
import torch

from engine import device


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_on_the_cpu_a_large_buffer_is_not_fetched_from_the_system_each_time() -> None:
    import resource  # not on Windows

    def faults() -> int:
        torch.ones(64 << 20)  # 256 MiB, 65,536 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    device.choose("cpu", None)
    counts = [faults() for _ in range(10)]
    assert counts[-1] - counts[-2] < 1000
