"""What a measurement was made on: commit, processor or card, versions."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.clock import peak_rss


def describe() -> dict[str, object]:
    """Commit, whether the tree differs from it, machine and versions, for the JSON of every benchmark."""
    import torch

    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "engine", "benchmarks")),
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def forget_peaks() -> None:
    """Measure peak memory from here on: `peaks` tells it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5", encoding="ascii")  # man 5 proc: resets the peak resident set size to the current one


def peaks() -> dict[str, int | None]:
    """The most memory held since `forget_peaks`, in bytes: of the process, and on the card by tensors and by torch in all."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "rss_bytes": peak_rss(),
        "vram_allocated_bytes": torch.cuda.max_memory_allocated() if gpu else None,
        "vram_reserved_bytes": torch.cuda.max_memory_reserved() if gpu else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
