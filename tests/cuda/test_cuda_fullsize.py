"""Full-size SD 1.5 and SDXL on fake tensors: the predictor of memory is right within 10 % for presets, 15 % for drawn settings.

A run is measured in a process of its own, which must say that it has a card before its first backward pass.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from engine.vram import estimate
from tests.cuda.table import DOCUMENT, MEASURED, NAMES, PRESETS, ROOT, load_of, section

KEPT: dict[str, Any] = json.loads(PRESETS.read_text(encoding="utf-8"))
QUICK = ("sd15_lora_6gb", "sdxl_lora_8gb")
DRAWN = 20


class Server:
    """A process that measures."""

    def __init__(self) -> None:
        command = [sys.executable, "-s", "-X", "utf8", "-m", "tests.cuda.fullsize", "--serve"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def measure(self, **request: object) -> dict[str, Any]:
        """What `fullsize.measure` gives."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "the process that measures has ended; its traceback is above"
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End it."""
        self._process.communicate("")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def off(found: dict[str, Any], phase: str) -> float:
    """How far the prediction is from what was measured, as a share of that."""
    measured = found["phases"][phase]["peak"]
    return estimate.predict(load_of(found["load"])).peak(phase) / measured - 1


def preset_is_as_told(server: Server, name: str) -> None:
    found = server.measure(model=name[:4], flags=["--config", str(ROOT / f"configs/{name}.toml")])
    assert found["load"] == KEPT[name]["load"], "run `python -m tests.cuda.table --fit`"
    for phase in MEASURED:
        assert found["phases"][phase]["peak"] == pytest.approx(KEPT[name]["peaks"][phase], rel=0.01), phase
        assert abs(off(found, phase)) <= 0.10, (phase, off(found, phase))
    assert sum(found["operations"].values()) == KEPT[name]["operations"]
    assert found["reads"] == {} and KEPT[name]["reads"] == 0


def test_the_document_shows_what_was_measured() -> None:
    assert f"\n\n{section(KEPT)}" in DOCUMENT.read_text(encoding="utf-8"), "run `python -m tests.cuda.table --fit --presets`"


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_preset_is_measured_as_predicted(server: Server, name: str) -> None:
    preset_is_as_told(server, name)


@pytest.mark.card
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_every_preset_is_measured_as_predicted(server: Server, name: str) -> None:
    preset_is_as_told(server, name)


def drawn(number: int) -> tuple[str, list[str]]:
    """Model and flags of a run that somebody might start; even numbers are of SD 1.5."""
    draw = random.Random(number)
    model = ("sd15", "sdxl")[number % 2]
    sides = range(384, 769, 64) if model == "sd15" else range(768, 1153, 64)
    batch = draw.randint(1, 4 if model == "sd15" else 2)
    method, conv = draw.choice(("lora", "lora", "loha")), draw.choice((0, 0, 8, 32))
    flags = [
        "--mixed_precision", draw.choice(("bf16", "bf16", "fp16", "no")), "--resolution", f"{draw.choice(sides)},{draw.choice(sides)}",
        "--train_batch_size", str(batch), "--network_module", f"networks.{method}",
        "--network_dim", str(draw.choice((4, 8, 16, 32, 64, 128) if method == "lora" else (4, 8, 16))),
        "--optimizer_type", draw.choice(("AdamW", "Lion")), "--max_token_length", draw.choice(("75", "75", "150", "225")),
        *(["--network_args", f"conv_dim={conv}"] if conv else []),
        *(["--gradient_checkpointing"] if draw.random() < 0.4 else []),
        *(["--network_train_unet_only"] if draw.random() < 0.6 else []),
    ]  # fmt: skip
    return model, flags


def drawn_is_as_predicted(server: Server, number: int) -> None:
    model, flags = drawn(number)
    found = server.measure(model=model, flags=flags, phases=["step"])
    assert abs(off(found, "step")) <= 0.15, (off(found, "step"), " ".join(flags))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2])
def test_settings_drawn_by_chance_are_measured_as_predicted(server: Server, number: int) -> None:
    drawn_is_as_predicted(server, number)


@pytest.mark.card
@pytest.mark.parametrize("number", [number for number in range(DRAWN) if number not in (0, 2)])
def test_all_drawn_settings_are_measured_as_predicted(server: Server, number: int) -> None:
    drawn_is_as_predicted(server, number)
