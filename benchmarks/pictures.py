"""Smooth random pictures with captions, in a folder. All are of one size, and trainers read the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_WORDS = ("a photo of sks dog", "sks dog on grass, sunny", "sks dog, portrait", "a small sks dog running")


def make(folder: Path, size: int, count: int = 8, repeats: int = 500) -> Path:
    """`count` pictures of `size` x `size` in `<folder>/<repeats>_sks dog/`; returns `folder`.

    Many repeats, so that no epoch ends within a measurement.
    """
    concept = folder / f"{repeats}_sks dog"
    concept.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (size // 32, size // 32, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC).save(concept / f"{number}.png")
        (concept / f"{number}.txt").write_text(_WORDS[number % len(_WORDS)], encoding="utf-8")
    return folder
