"""Makes the tests' photographs, `tests/data/photographs/`. They are crops of those inside the PyPI package scikit-image.

    pip install scikit-image==0.26.0
    python recipes/photographs.py

The pictures are checked in; this file tells how they came to be. Origin and licence of each: tests/data/photographs/SOURCES.md.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST = 512  # pixels, the longer side of a picture


@dataclass(frozen=True)
class Photograph:
    """One source file of the package, and the concept folder that its crops go into."""

    file: str
    sha256: str
    folder: str


@dataclass(frozen=True)
class Crop:
    """A rectangle of a photograph (left, top, right, bottom, in its pixels), saved as `name` beside its caption."""

    name: str
    box: tuple[int, int, int, int]
    caption: str


ASTRONAUT = Photograph("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", "10_astronaut woman")
CHELSEA = Photograph("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", "10_chelsea cat")
COFFEE = Photograph("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", "10_pikolo cup")

CROPS: dict[Photograph, tuple[Crop, ...]] = {
    ASTRONAUT: (
        Crop("01.jpg", (0, 0, 512, 512), "astronaut woman, orange space suit, smiling, flag, model of a space shuttle, holding a helmet"),
        Crop("02.jpg", (96, 0, 352, 320), "astronaut woman, close-up, short brown hair, smiling, collar of a space suit, grey background"),
        Crop("03.jpg", (0, 0, 352, 512), "astronaut woman, orange space suit, smiling, short brown hair, flag in the background"),
        Crop("04.jpg", (80, 0, 512, 288), "astronaut woman, smiling, short brown hair, model of a space shuttle, grey background"),
        Crop("05.jpg", (110, 0, 366, 512), "astronaut woman, orange space suit, smiling, mission patch, grey background"),
        Crop("06.jpg", (96, 64, 512, 512), "astronaut woman, orange space suit, holding a black helmet, model of a space shuttle"),
    ),
    CHELSEA: (
        Crop("01.png", (0, 0, 451, 300), "chelsea cat, brown tabby fur, green eyes, long whiskers, looking away, blurred background"),
        Crop("02.jpg", (110, 0, 410, 300), "chelsea cat, close-up, brown tabby fur, green eyes, pink nose"),
        Crop("03.jpg", (60, 30, 451, 250), "chelsea cat, close-up of the eyes, brown tabby fur, green eyes"),
        Crop("04.jpg", (120, 0, 344, 300), "chelsea cat, brown tabby fur, one ear, green eyes, pink nose, whiskers"),
        Crop("05.jpg", (20, 20, 440, 290), "chelsea cat, brown tabby fur, green eyes, white chin, blurred background"),
        Crop("06.jpg", (0, 0, 330, 300), "chelsea cat, brown tabby fur, green eyes, long whiskers, head turned to the side"),
    ),
    COFFEE: (
        Crop("01.jpg", (0, 0, 600, 400), "pikolo cup, espresso, red saucer, silver spoon, wooden table, from above"),
        Crop("02.jpg", (70, 0, 470, 400), "pikolo cup, espresso, red saucer, silver spoon, wooden table"),
        Crop("03.jpg", (150, 0, 440, 400), "pikolo cup, close-up, espresso, red saucer, white rim"),
        Crop("04.jpg", (60, 170, 520, 400), "pikolo cup, red saucer, silver spoon, handle, wooden table"),
        Crop("05.jpg", (150, 0, 450, 240), "pikolo cup, close-up, espresso with crema, white rim"),
        Crop("06.jpg", (0, 40, 600, 380), "pikolo cup, espresso, red saucer, silver spoon, wooden table, warm light"),
    ),
}


def main() -> None:
    """Write the crops and their captions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests" / "data" / "photographs")
    out: Path = parser.parse_args().out
    for photograph, crops in CROPS.items():
        source = _source(photograph)
        folder = out / photograph.folder
        folder.mkdir(parents=True, exist_ok=True)
        for crop in crops:
            picture = source.crop(crop.box)
            picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            picture.save(folder / crop.name, quality=90, optimize=True)
            (folder / crop.name).with_suffix(".txt").write_text(crop.caption + "\n", encoding="utf-8", newline="\n")
            print(f"{folder.name}/{crop.name}: {picture.width} x {picture.height}")


def _source(photograph: Photograph) -> Image.Image:
    """The photograph, from the installed package; stops where it is another version's."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("install the package that holds the photographs first: pip install scikit-image==0.26.0")
    path = Path(spec.origin).parent / "data" / photograph.file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != photograph.sha256:
        raise SystemExit(f"{path} is not the photograph that the crops were made from (SHA-256 {digest})")
    return Image.open(path, formats=("PNG",)).convert("RGB")


if __name__ == "__main__":
    main()
