"""The environment of every run: nothing of the host's Python, no hub.

All caches lie inside the product's folder, which is named here. What is optional is hidden until a run uses it.
"""

from __future__ import annotations

import os
import re
import site
import sys
from collections.abc import Mapping
from pathlib import Path

from engine import optional

ROOT = Path(__file__).resolve().parent.parent  # the product's folder: engine/, configs/, models/, ...
PYTHONS = ("python_310/python.exe", ".venv/bin/python")  # those that a set-up makes
# Variable -> folder below `cache/`. All absolute: a run may start in any folder.
CACHES = {
    "HF_HOME": "huggingface",
    "TORCH_HOME": "torch",
    "TORCH_EXTENSIONS_DIR": "extensions",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_HOME": "triton",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
}
_HOSTS = re.compile(r"PYTHON.*|CONDA.*|_CE_CONDA|VIRTUAL_ENV.*|PIP_.*", re.IGNORECASE)  # on Windows; on Linux the scripts see to it
# What has been set for other programs that use the same libraries: caches elsewhere, accounts, devices, number formats, builds. The
# address of the hub's mirror (HF_ENDPOINT) is for `download` and stays.
_LIBRARIES = re.compile(
    r"HF_(?!ENDPOINT$).*|HUGGINGFACE_.*|(PYTORCH_)?TRANSFORMERS_.*|PYTORCH_PRETRAINED_.*|DIFFUSERS_.*|ACCELERATE_.*|BNB_.*|XFORMERS_.*",
    re.IGNORECASE,
)


def private(root: Path, given: Mapping[str, str], *, windows: bool) -> dict[str, str]:
    """The variables `given` by the host as a run in the product's folder `root` should see them. Pure.

    On Linux the host's Python and pip are the ones we run on, and their variables stay.
    """
    foreign = {name for name in given if _LIBRARIES.fullmatch(name) or (windows and _HOSTS.fullmatch(name))}
    kept = {name: value for name, value in given.items() if name not in foreign}
    kept.update({name: str(root / "cache" / folder) for name, folder in CACHES.items()})
    kept.update(PYTHONNOUSERSITE="1", PYTHONUTF8="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_SYMLINKS_WARNING="1")
    kept["HF_HUB_OFFLINE"] = "1"  # nothing is ever fetched during a run; `download` does not go through the hub's library
    if windows:
        kept["PIP_CONFIG_FILE"] = "nul"  # a user's pip.ini is no variable, and this is how pip is told to leave it
    return kept


def apply(root: Path) -> None:
    """Make this process's environment private, and that of programs it starts; on Windows its module path too. Hides what is optional."""
    wanted = private(root, os.environ, windows=sys.platform == "win32")
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)
    optional.hide_all()
    if sys.platform == "win32" and site.ENABLE_USER_SITE:  # started without -s: the packages of another Python 3.10 would come first
        sys.path[:] = [path for path in sys.path if path != site.getusersitepackages()]


def as_typed(text: str) -> str:
    """`text` with its commands as they are typed here, in the product's folder: a PC may have no other `python`, or another."""
    ours = (name for name in PYTHONS if Path(sys.executable) == ROOT / name)
    return text.replace("python -m ", f"{Path(next(ours, 'python'))} -m ")
