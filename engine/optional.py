"""Optional packages: found by nobody until a run uses them, and tried first.

What diffusers, transformers and torch find they import, hardly guarded: one package that breaks would break every run.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable

from engine.errors import fault

MODULES = {"bitsandbytes": "bitsandbytes", "triton-windows": "triton", "xformers": "xformers"}  # by the names that pip knows them by

LEFT_OUT = "ENGINE_LEFT_OUT"  # the installer's variable: modules, with commas between, that a process does without as if not installed


def hide(name: str) -> None:
    """Make a package as if it were not installed: Python's own mark, which `import` and `find_spec` obey."""
    sys.modules[name] = None  # type: ignore[assignment]


def hide_all() -> None:
    """Hide the optional packages, but for those that are in use; what is left out is hidden in any case."""
    for name in (*MODULES.values(), *_left_out()):
        if name not in sys.modules or name in _left_out():
            hide(name)


def tried(name: str, use: Callable[[], object]) -> str:
    """Why a package does not work, in a line: what `use` raises. Where it works nothing is said, and it is found from now on."""
    if sys.modules.get(name, sys) is None and name not in _left_out():
        del sys.modules[name]
    why = fault(use)
    if why:
        hide(name)
    return why


def is_here(name: str) -> bool:
    """Whether a package is installed, hidden or not. Nothing of it is run."""
    return name not in _left_out() and importlib.machinery.PathFinder.find_spec(name) is not None


def _left_out() -> frozenset[str]:
    return frozenset(filter(None, os.environ.get(LEFT_OUT, "").split(",")))
