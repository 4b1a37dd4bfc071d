"""Makes the checked-in table of memory anew.

`python -m tests.cuda.table` measures the points, fits `engine/vram/coefficients.json` to them, measures the presets, and writes
`tests/cuda/presets.json`, the table in docs/measurements.md and the presets' own lines. It takes about an hour on a quiet core.
Points that `tests/cuda/points.tsv` has are kept: delete it to measure all. `--fit` measures none; `--presets NAME ...` measures those
presets alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from engine.vram import estimate
from tests.cuda import fit, points
from tests.cuda.fullsize import measure

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "engine/vram/coefficients.json"
PRESETS = ROOT / "tests/cuda/presets.json"
POINTS = ROOT / "tests/cuda/points.tsv"
DOCUMENT = ROOT / "docs/measurements.md"
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("sd*_lora_*gb.toml"))
_SECTION = re.compile(r"## Memory of a card\n.*?(?=\n## |\Z)", re.DOTALL)


def main() -> int:
    """Measure, fit and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.cuda.table", description=__doc__, allow_abbrev=False)
    parser.add_argument("--points", type=Path, default=POINTS)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--presets", nargs="*", default=NAMES)
    args = parser.parse_args()
    if not args.fit:
        points.fill(args.points)
    fit.write(fit.table(fit.read(args.points)), TABLE)
    estimate.coefficients.cache_clear()
    kept: dict[str, Any] = json.loads(PRESETS.read_text(encoding="utf-8")) if PRESETS.exists() else {}
    for name in args.presets:
        kept[name] = preset(name)
        PRESETS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for name, row in kept.items():
        tell(ROOT / f"configs/{name}.toml", estimate.predict(load_of(row["load"])).needed / estimate.GIB)
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(_SECTION.sub(lambda _: section(kept), document), encoding="utf-8", newline="\n")
    return 0


def tell(path: Path, gib: float) -> None:
    """Write into a preset's head what it needs."""
    text = path.read_text(encoding="utf-8")
    for before, after in (("# Needs ", " GB, "), ("# 約需 ", " GB 顯存")):
        text, found = re.subn(rf"(?<={before})[\d.]+(?={after})", f"{gib:.1f}", text)
        assert found == 1, f"{path.name} has no line `{before}... {after}`"
    path.write_text(text, encoding="utf-8", newline="\n")


def preset(name: str, *flags: str) -> dict[str, Any]:
    """What a preset asks, and what was measured of it."""
    found = measure(name[:4], ["--config", str(ROOT / f"configs/{name}.toml"), *flags])
    assert found.load is not None
    return {
        "load": dataclasses.asdict(found.load),
        "peaks": {phase: found.phases[phase].peak for phase in MEASURED},
        "operations": sum(found.operations.values()),
        "reads": sum(found.reads.values()),
    }


MEASURED = ("encode pictures", "encode captions", "step", "sample", "decode")


def load_of(values: dict[str, Any]) -> estimate.Load:
    """The plain numbers, as they were written."""
    return estimate.Load(**{**values, "adapters": estimate.Adapters(**values["adapters"])})


def section(kept: dict[str, Any]) -> str:
    """The section of docs/measurements.md."""
    lines = [
        "## Memory of a card",
        "",
        "`.venv/bin/python -m tests.cuda.table` writes this section. No card has been used: full-size networks go through the engine's",
        "own load, encoding, step, sampling and decoding on tensors that have shapes and no values, and what is live is counted",
        "(`tests/cuda/fullsize.py`). GiB at the peak of each phase as counted / as `engine/vram/estimate.py` works it out. `card` is what",
        "is needed with a desktop, the context and fragmentation. Then operations of an update, and values that the host waits for.",
        "",
        "| preset | batch | checkpointing | pictures | captions | step | sampling | decoding | card | operations | reads |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(kept.items()):
        load = load_of(row["load"])
        forecast = estimate.predict(load)
        counted = {phase: f"{peak / estimate.GIB:.2f}" for phase, peak in row["peaks"].items()}
        both = (f"{counted.get(phase, '-')} / {forecast.peak(phase) / estimate.GIB:.2f}" for phase in MEASURED)
        on = "yes" if load.checkpointing else "no"
        card = f"{forecast.needed / estimate.GIB:.1f}"
        asks = f"{row['operations']:,} | {row['reads']}" if counted else "- | -"
        lines.append(f"| {name} | {load.batch} | {on} | {' | '.join(both)} | {card} | {asks} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
