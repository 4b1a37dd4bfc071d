"""The Windows rig for these tests, and a small product to install in it. Where Wine is missing these tests fail, and are not skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import Site, serving
from product import Product
from rig_run import Rig


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """Wine with a Windows 10 prefix, Python's zip and the stand-ins."""
    here = Path(__file__).parent / "rig"
    made = subprocess.run(
        ["bash", here / "setup"], env={**os.environ, "PYTHON": sys.executable},
        capture_output=True, text=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    rig = Rig(here / "winrun", Path(made.stdout.splitlines()[-1]))
    yield rig
    rig.kill()


@pytest.fixture
def site() -> Iterator[Site]:
    """The servers of the whole world: python.org, the index, the PyTorch project."""
    with serving() as it:
        yield it


@pytest.fixture
def product(root: Path, rig: Rig, site: Site, tmp_path: Path) -> Product:
    """A product of kilobytes in a folder with an awkward name, whose downloads come from `site`."""
    return Product(root, tmp_path / "我的 lora (1) & co's ^! [x]", rig, site)


@pytest.fixture
def install(product: Product) -> Callable[..., tuple[int, str]]:
    """Run Install.cmd; its exit status and what it said."""
    return product.install

