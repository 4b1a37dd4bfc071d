"""Lays a run's sample pictures out as one picture, for the README. `python -m recipes.demo_sheet output/demo docs/demo.png`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from engine import files

SIDE = 96  # pixels of a picture in the sheet
GAP = 4
LEFT = 88  # for the names of the rows
TOP = 22  # for the prompts
_NAME = re.compile(r".+_(base|\d{6})_(\d\d)_\d+")


def sheet(run: Path) -> Image.Image:
    """A row for the base model and for each step, a column for each prompt."""
    cells: dict[tuple[str, int], Path] = {}
    for path in sorted((run / "samples").glob("*.png")):
        if found := _NAME.fullmatch(path.stem):
            cells[found[1], int(found[2])] = path
    if ("base", 0) not in cells:
        raise SystemExit(
            f"error: {run} holds no sample pictures of a run with its base row\nhint: name the folder of a run, such as output/demo"
        )
    rows = sorted({row for row, _ in cells}, key=lambda row: -1 if row == "base" else int(row))
    columns = sorted({column for _, column in cells})
    page = Image.new("RGB", (LEFT + len(columns) * (SIDE + GAP), TOP + len(rows) * (SIDE + GAP)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for x, column in enumerate(columns):
        pen.text((LEFT + x * (SIDE + GAP), 4), _words(cells["base", column]), "black", font)
    for y, row in enumerate(rows):
        top = TOP + y * (SIDE + GAP)
        pen.text((4, top + SIDE // 2 - 8), "base model" if row == "base" else f"step {int(row)}", "black", font)
        for x, column in enumerate(columns):
            picture = Image.open(cells[row, column], formats=("PNG",)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            page.paste(picture, (LEFT + x * (SIDE + GAP), top))
    return page


def _words(path: Path) -> str:
    """The beginning of the prompt that the picture holds inside, as many tags as fit above it."""
    told = Image.open(path, formats=("PNG",)).info.get("parameters", "").split("\n")[0].split(", ")
    return ", ".join(tag for tag in (told[0], told[-1]) if tag).replace(" background", "")


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("out", type=Path, help="the PNG to write")
    chosen = parser.parse_args()
    made = sheet(chosen.run).quantize(128)
    with files.writing(chosen.out) as partial:
        made.save(partial, "PNG", optimize=True)
    print(f"{chosen.out}: {made.width} x {made.height}, {chosen.out.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
