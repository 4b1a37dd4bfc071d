"""Small runs for tests: settings as a command line gives them, without a screen."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from engine.commands.command import settings
from engine.config.schema import Config
from engine.console import Reporter


def config(folder: Path, *arguments: str) -> Config:
    """Settings from flags, with everything that a run writes in `folder`."""
    own = ["--output_dir", f"{folder}/output", "--cache_dir", f"{folder}/cache", "--logging_dir", ""]
    return settings([*own, *arguments]).config


def quiet() -> tuple[Reporter, io.StringIO]:
    """A reporter that writes into a text, and the text."""
    out = io.StringIO()
    return Reporter(Console(file=out, width=200, soft_wrap=True)), out
