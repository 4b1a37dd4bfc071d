"""How much of a card's memory a run takes, from plain numbers.

What is counted exactly is handed in: weights, gradients, the optimizer's state. What a pass through a network takes beside them is worked
out with the coefficients of `coefficients.json`, which `python -m tests.cuda.table` fits to passes on fake tensors. Flash and
memory-efficient attention keep the same bytes there. Workspaces, the context and what the allocator loses between blocks are no part of a
prediction; `fits` adds room for them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models.decoding import TILE

GIB = 2**30
CONTEXT = 0.6 * GIB  # CUDA's own, and the kernels'
DESKTOP = 0.7 * GIB  # what Windows and a browser have on the card
FRAGMENTATION = 0.05  # of what is allocated
FORMATS = {"no": "full", "fp16": "half", "bf16": "half"}
EVENTS = ("early", "middle", "late")  # of a backward pass: few gradients are there, some, nearly all

Components = Mapping[str, int]


@dataclass(frozen=True)
class Adapters:
    """What is trained."""

    method: str  # a method of the table: "lora", or "loha" for whatever forms a change of a layer's size
    rank: int
    conv_rank: int  # 0: no 3x3 convolution is changed
    text: bool  # whether the text encoders are changed too
    parameters: int  # bytes; the gradients take as many
    optimizer: int  # bytes of its state


@dataclass(frozen=True)
class Load:
    """What a run asks of the card. Sizes are those of the largest bucket."""

    family: str  # "sd1", "sdxl"
    precision: str  # "no", "fp16", "bf16"
    vae_precision: str
    checkpointing: bool
    batch: int
    pixels: int  # of a picture
    tokens: int  # of a caption: 77, 152, 227
    adapters: Adapters
    unet: int  # bytes of weights
    text: int  # bytes of the text encoders' weights
    vae: int
    text_stays: bool  # whether the text encoders are on the card while training
    vae_batch: int = 1
    text_batch: int = 16
    preview_pixels: int = 0  # of the largest sample picture; 0: none is made

    @property
    def latent_pixels(self) -> int:
        """Of the whole batch."""
        return self.batch * self.pixels // 64


@dataclass(frozen=True)
class Forecast:
    """Bytes by phase and component. A phase's peak is their sum."""

    phases: Mapping[str, Components]

    def peak(self, phase: str) -> int:
        """Bytes of one phase."""
        return sum(self.phases[phase].values())

    @property
    def largest(self) -> str:
        """The phase that takes most. Decoding counts in tiles, as it is done where the whole picture does not fit."""
        return max((phase for phase in self.phases if phase != "decode"), key=self.peak)

    @property
    def held(self) -> int:
        """Bytes that torch will hold of the card."""
        return int(self.peak(self.largest) * (1 + FRAGMENTATION))

    @property
    def needed(self) -> int:
        """Bytes of a card on which this runs beside a desktop."""
        return int(self.held + CONTEXT + DESKTOP)

    def fits(self, card: int) -> bool:
        """Whether a card of that many bytes is large enough."""
        return self.needed <= card


def predict(load: Load) -> Forecast:
    """The memory of each phase of a run."""
    table, adapters = coefficients(), load.adapters
    form, vae_form = FORMATS[load.precision], FORMATS[load.vae_precision]
    vae, sample = table["vae"][vae_form], _row(table["sample"], family=load.family, precision=form)
    stays = {
        "U-Net": load.unet,
        **({"text encoders": load.text} if load.text_stays else {}),
        "adapters": adapters.parameters,
        "optimizer": adapters.optimizer,
    }
    rows = 0 if load.text_stays else load.text_batch  # encoders that stay encode in the steps
    captions = rows * load.tokens * _row(table["captions"], family=load.family, precision=form)["token"]
    phases: dict[str, Components] = {
        "encode pictures": {"VAE": load.vae, "activations": int(load.vae_batch * load.pixels * vae["encode"])},
        "encode captions": {"text encoders": load.text, "activations": int(captions)},
        "step": {**stays, "gradients and activations": beside(load)},
    }
    if load.preview_pixels:
        pass_ = sample["constant"] + sample["pixel"] * 2 * load.preview_pixels / 64  # guidance: two rows
        phases["sample"] = {**stays, "activations": int(pass_)}
        for name, pixels in (("decode", load.preview_pixels), ("decode in tiles", min(load.preview_pixels, TILE**2))):
            phases[name] = {**stays, "VAE": load.vae, "activations": int(pixels * vae["decode"] + (load.preview_pixels - pixels) * 12)}
    return Forecast(phases)


def beside(load: Load) -> int:
    """The most that a forward and a backward pass have live beside weights and optimizer: activations, gradients, copies of weights."""
    row = _row(
        coefficients()["steps"],
        family=load.family,
        precision=FORMATS[load.precision],
        checkpointing=load.checkpointing,
        method=load.adapters.method,
    )
    values = features(load)
    return int(max(sum(factor * values[name] for name, factor in row[event].items()) for event in EVENTS))


def features(load: Load) -> dict[str, float]:
    """What the coefficients of a step multiply, by their names."""
    adapters, pixels, tokens = load.adapters, load.latent_pixels, load.batch * load.tokens
    return {
        "constant": 1,
        "pixel": pixels,
        "pixel and rank": pixels * adapters.rank,
        "token": tokens,
        "convolutions": bool(adapters.conv_rank),
        "pixel of convolutions": pixels * bool(adapters.conv_rank),
        "pixel and rank of convolutions": pixels * adapters.conv_rank,
        "token of trained text": tokens * adapters.text,
        "gradient": adapters.parameters,
    }


@functools.cache
def coefficients() -> Any:
    """The table."""
    return json.loads(Path(__file__).with_name("coefficients.json").read_text(encoding="utf-8"))


def _row(rows: list[dict[str, Any]], **keys: object) -> dict[str, Any]:
    """The row of these keys. Raises KeyError where the table has none."""
    for row in rows:
        if all(row[name] == value for name, value in keys.items()):
            return row
    raise KeyError(f"coefficients.json has no row for {keys}")
