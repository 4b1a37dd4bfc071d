"""What every test finds: no network, few threads, tiny base models, pictures on demand, and ways to meet a disk that refuses."""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

# Before anything imports a library that reads them. One thread, so that sums come out the same on every machine.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

_TENSOR_LIBRARIES = frozenset({"torch", "accelerate", "diffusers", "transformers", "peft", "lycoris", "prodigyopt"})
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER = 1, 2, 3  # linux/capability.h: root's right to pass by file permissions
_PR_CAPBSET_DROP = 24  # linux/prctl.h


class _SkipWithoutTorch(importlib.abc.MetaPathFinder):
    """Where torch is not installed (Python 3.10 in CI), a test that reaches for it is skipped and all others run."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in _TENSOR_LIBRARIES:
            pytest.skip("needs torch, which is not installed here", allow_module_level=True)
        return None


if importlib.util.find_spec("torch") is None:
    sys.meta_path.insert(0, _SkipWithoutTorch())


@pytest.fixture(scope="session")
def root() -> Path:
    """The product's folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def micro_sd(root: Path) -> Path:
    """The small built-in Stable Diffusion 1.x checkpoint, original layout, fp16. Read it, never write."""
    return root / "models" / "micro" / "micro-sd.safetensors"


@pytest.fixture(scope="session")
def micro_sdxl(root: Path) -> Path:
    """The small built-in SDXL checkpoint, original layout, fp16. Read it, never write."""
    return root / "models" / "micro" / "micro-sdxl.safetensors"


@pytest.fixture
def pictures() -> Callable[..., list[Path]]:
    """`pictures(folder, sizes, caption=None)`: PNG files 0.png, 1.png, ... of those (width, height), all different; captions if given."""
    from PIL import Image, ImageDraw

    def make(folder: Path, sizes: Sequence[tuple[int, int]] = ((64, 64), (96, 64)), caption: str | None = None) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for number, (width, height) in enumerate(sizes):
            picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
            pen = ImageDraw.Draw(picture)
            hue = 37 * number % 256
            pen.ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(hue, 255 - hue, 128))
            made.append(folder / f"{number}.png")
            picture.save(made[-1])
            if caption is not None:
                made[-1].with_suffix(".txt").write_text(caption, encoding="utf-8")
        return made

    return make


def _give_up_root() -> None:
    """In the child, before it starts: file permissions bind it from here on, root or not."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP) failed")


@pytest.fixture
def as_user(root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`as_user("-m", "engine", "train", ...)`: this Python with those arguments, held to file permissions even where we are root."""
    if sys.platform == "win32":
        pytest.skip("Windows folders have no write bit")
    privileged = os.geteuid() == 0

    def run(*arguments: str, cwd: Path = root, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-s", "-X", "utf8", *arguments],
            cwd=cwd, timeout=timeout, capture_output=True, text=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL,
            preexec_fn=_give_up_root if privileged else None,
        )  # fmt: skip

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB of its own, which fills up for real. Needs the right to mount."""
    place = tmp_path / "small disk"
    place.mkdir()
    refusal = "only Linux can make one here"
    if sys.platform.startswith("linux"):
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        refusal = mounted.stderr.strip()
    if refusal:
        pytest.skip(f"no small disk: {refusal}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
