"""What the coefficients of memory are fitted to: passes of chosen settings, measured on fake tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cuda.encoders import measure_vae
from tests.cuda.fullsize import Size, measure

SIDES = {"sd15": (256, 512), "sdxl": (512, 1024)}
FLAGS = {"half": "bf16", "full": "no"}


@dataclass(frozen=True)
class Setup:
    """Settings that are measured at several sizes."""

    model: str
    precision: str  # a key of FLAGS
    method: str  # "lora", "loha"
    dim: int
    conv: int = 0
    text: bool = False  # whether the text encoders are trained

    def flags(self) -> list[str]:
        """As the engine reads them."""
        return [
            "--mixed_precision", FLAGS[self.precision], "--network_dim", str(self.dim), "--network_module", f"networks.{self.method}",
            *(["--network_args", f"conv_dim={self.conv}"] if self.conv else []),
            *([] if self.text else ["--network_train_unet_only"]),
        ]  # fmt: skip


def setups(model: str, precision: str) -> Iterator[tuple[Setup, list[Size]]]:
    """Enough that each coefficient is told apart."""
    small, large = SIDES[model]

    def sizes(*wanted: tuple[int, int, int]) -> list[Size]:
        """(samples, side, tokens), without and then with checkpointing."""
        return [Size(samples, side, side, tokens, checkpointing=on) for on in (False, True) for samples, side, tokens in wanted]

    def setup(method: str, dim: int, conv: int = 0, text: bool = False) -> Setup:
        return Setup(model, precision, method, dim, conv, text)

    yield setup("lora", 16), sizes((1, small, 77), (2, large, 77), (1, small, 227))
    yield setup("lora", 128), sizes((1, large, 77), (1, small, 77))
    yield setup("lora", 32, text=True), sizes((1, small, 77), (2, large, 77), (1, small, 227))
    yield setup("lora", 16, conv=64), sizes((1, large, 77), (1, small, 77))
    yield setup("loha", 8), sizes((1, small, 77), (2, large, 77))
    yield setup("loha", 8, conv=8), sizes((1, small, 77), (1, large, 77))
    yield setup("lora", 16, conv=8), sizes((1, large, 77))
    yield setup("loha", 32, conv=16), sizes((1, large, 77))


def fill(path: Path) -> None:
    """Measure what the file lacks."""
    done = {line.partition("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()} if path.exists() else set()
    with path.open("a", encoding="utf-8") as file:

        def note(key: dict[str, object], code: Callable[[], object]) -> None:
            if json.dumps(key) not in done:
                file.write(f"{json.dumps(key)}\t{json.dumps(code())}\n")
                file.flush()

        for precision, word in FLAGS.items():
            for model, sides in SIDES.items():
                vae: dict[str, object] = {"model": model, "precision": precision, "vae": True}
                note(vae, lambda model=model, word=word, sides=sides: measure_vae(model, ["--mixed_precision", word], sides))
                for setup, sizes in setups(model, precision):
                    note(asdict(setup), lambda setup=setup, sizes=sizes: _points(setup, sizes))


def _points(setup: Setup, sizes: list[Size]) -> dict[str, object]:
    found = measure(setup.model, setup.flags(), phases=("sample",) if setup.dim == 16 and not setup.conv else (), sizes=sizes)
    return {
        "gradients": found.gradients,
        "sample": {name: phase.peak - phase.before for name, phase in found.phases.items() if name.startswith("sample")},
        "points": [
            {"size": asdict(size), "before": (phase := found.phases[str(size)]).before, "peak": phase.peak, "events": phase.events}
            for size in sizes
        ],
    }
