"""What is said where a package is missing or half there. Which set-up to run, or which Python has the packages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine.environment import PYTHONS, ROOT
from engine.errors import UserError

OURS = ("engine", "install", "recipes", "benchmarks")  # packages of the product itself


def module(error: ModuleNotFoundError) -> UserError | None:
    """What to say where a package's module is missing; None for a module of Python's or of ours, which is a bug."""
    from engine import doctor

    top = (error.name or "").partition(".")[0]
    if not top or top in sys.stdlib_module_names or top in OURS:
        return None
    hint = f"run {doctor.SET_UP} again, which installs what is missing; `python -m engine doctor` lists it"
    for python in PYTHONS:
        folder = ROOT / python.partition("/")[0]
        if (ROOT / python).is_file() and not os.path.samefile(folder, sys.prefix):
            hint = f"this is {sys.executable}, and the packages are in {folder}: run {Path(python)} -m engine in the product's folder"
    return UserError(f"the Python module `{error.name}` is missing", hint)


def packages() -> list[str]:
    """A line about pinned packages that are not here whole, for under an error of any kind: half a package breaks in many ways."""
    from engine import doctor

    found = doctor.packages(ROOT / "requirements.txt", required=True)
    return [f"packages {it.name}: {it.value}; {it.hint}" for it in found if it.name == "missing"]
