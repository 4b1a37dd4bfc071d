"""What commands that download have in common: the hub's address, and the question before."""

from __future__ import annotations

import os

from engine import downloads
from engine.environment import ROOT


def own() -> str:
    """The hub's own address."""
    return downloads.read(ROOT)["hub"].base


def address(mirror: str = "") -> str:
    """The hub's address, or that of the mirror that was named, here or by HF_ENDPOINT."""
    return (mirror or os.environ.get("HF_ENDPOINT", "")).rstrip("/") or own()


def ask(question: str) -> bool:
    """Ask at the terminal; Enter means yes, and the end of the input no."""
    try:
        return input(f"{question} [Y/n] ").strip().lower() in ("", "y", "yes", "j", "是", "好")
    except EOFError:
        return False
