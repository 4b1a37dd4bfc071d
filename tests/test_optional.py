"""Optional packages: one that breaks in any way breaks only what uses it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import doctor, environment, optional

BREAKS = [
    "raise ImportError('DLL load failed')",
    "raise OSError('[WinError 126] the module could not be found')",
    "raise RuntimeError('built for another torch')",
    "raise NotImplementedError",
    "None.kernels",
    "import no_such_package_at_all",
]
Install = Callable[..., None]


def written(folder: Path, name: str, code: str) -> None:
    """A package as pip leaves it: its code, and its description."""
    package, described = folder / name, folder / f"{name}-9.9.dist-info"
    package.mkdir(parents=True)
    described.mkdir()
    (package / "__init__.py").write_text(f"{code}\n", encoding="utf-8")
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n", encoding="utf-8")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(name, code)`: a package of that name on the module path, not imported yet and not hidden."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in optional.MODULES.values()}
    for name in kept:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield lambda name, code="": written(tmp_path / "site", name, code)
    for name in [name for name in sys.modules if name.partition(".")[0] in optional.MODULES.values()]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.mark.parametrize("name", optional.MODULES.values())
def test_what_is_hidden_is_not_found(install: Install, name: str) -> None:
    install(name)
    optional.hide_all()
    assert importlib.util.find_spec(name) is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)
    assert optional.is_here(name)
    assert optional.tried(name, lambda: importlib.import_module(name)) == ""
    optional.hide_all()
    assert importlib.import_module(name)  # what is in use stays


def test_what_is_not_installed_is_not_here(install: Install) -> None:
    optional.hide_all()
    assert not any(map(optional.is_here, ("xformers", "bitsandbytes")))
    assert optional.tried("xformers", lambda: importlib.import_module("xformers")) == "ModuleNotFoundError: No module named 'xformers'"


@pytest.mark.parametrize("code", BREAKS)
def test_whatever_a_package_raises_becomes_a_line(install: Install, code: str) -> None:
    install("xformers", code)
    optional.hide_all()
    why = optional.tried("xformers", lambda: importlib.import_module("xformers"))
    assert why and "\n" not in why
    assert importlib.util.find_spec("xformers") is None  # nobody else finds it


def test_a_package_that_works_is_found_from_then_on(install: Install) -> None:
    install("xformers")
    optional.hide_all()
    assert optional.tried("xformers", lambda: importlib.import_module("xformers")) == ""
    assert importlib.util.find_spec("xformers") is not None
    assert optional.tried("xformers", lambda: 1 // 0) == "ZeroDivisionError: integer division or modulo by zero"
    assert importlib.util.find_spec("xformers") is None


def test_what_is_left_out_is_not_here(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it is in use already."""
    for name in ("xformers", "triton"):
        install(name)
    importlib.import_module("xformers")
    monkeypatch.setenv(optional.LEFT_OUT, "xformers,bitsandbytes")
    optional.hide_all()
    assert not optional.is_here("xformers") and optional.is_here("triton")
    assert optional.tried("xformers", lambda: importlib.import_module("xformers")).startswith("ModuleNotFoundError: ")
    assert optional.tried("triton", lambda: importlib.import_module("triton")) == ""


def test_every_process_hides_them(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    install("bitsandbytes", BREAKS[1])
    environment.apply(tmp_path)
    assert importlib.util.find_spec("bitsandbytes") is None


def test_the_file_of_optional_packages_names_no_other(root: Path) -> None:
    assert doctor.pins(root / "requirements-gpu.txt", system="win32").keys() <= optional.MODULES.keys()


@pytest.mark.parametrize("code", [BREAKS[0], *(pytest.param(code, marks=pytest.mark.slow) for code in BREAKS[1:3])])
def test_a_model_is_built_beside_packages_that_break(tmp_path: Path, root: Path, code: str) -> None:
    """diffusers and transformers themselves, in a process of their own: without our hand they break, or print what nobody asked for."""
    for name in optional.MODULES.values():
        written(tmp_path, name, f"print('{name} was imported')\n{code}")
    use = "from diffusers import UNet2DConditionModel, AutoencoderKL; from transformers import CLIPTextModel; print('built')"
    ours = "from engine import environment; environment.apply(environment.ROOT); "
    command = [sys.executable, "-s", "-X", "utf8", "-c"]
    here = {**os.environ, "PYTHONPATH": str(tmp_path)}
    answer = subprocess.run([*command, ours + use], cwd=root, env=here, capture_output=True, text=True, check=False)
    assert answer.stdout.split() == ["built"], answer.stderr[-2000:]
