"""Memory of VAE and text encoders by themselves, on fake tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from engine.models.vae import decode_images, encode_images
from engine.training.encoding import TextEncoder
from tests.cuda import fake
from tests.cuda.fullsize import Measured, Meter, memory, understand
from tests.cuda.live import Live


def measure_vae(model: str, flags: Sequence[str], sides: Sequence[int]) -> dict[str, dict[str, int]]:
    """Bytes beside the weights that VAE and text encoders take, by side in pixels; captions by their number."""
    known, card = memory(), fake.Card()
    live = Live(known)
    found: dict[str, dict[str, int]] = {"encode": {}, "decode": {}, "captions": {}, "weights": {}}
    with tempfile.TemporaryDirectory(prefix="fullsize-") as scratch, fake.stand_ins(card, live), known.mode:
        run = understand(model, flags, Path(scratch))
        family, device = run.base.family, run.compute.device
        meter = Meter(live, Measured(family.name, run.compute.precision))

        def noted(kind: str, number: int, code: Callable[[], object]) -> None:
            with meter.phase(kind):
                code()
            phase = meter.found.phases[kind]
            found[kind][str(number)] = phase.peak - phase.before

        with live:
            dtype = family.vae_dtype(run.compute.dtype)
            vae = run.base.load("vae", dtype, device)
            found["weights"]["vae"] = live.size
            for side in sides:
                noted("encode", side, lambda side=side: encode_images(vae, torch.empty(1, 3, side, side).to(device, dtype)))
                noted("decode", side, lambda side=side: decode_images(vae, torch.empty(1, 4, side // 8, side // 8).to(device)))
            before = live.size
            encoder = TextEncoder(run.config, run.base, run.compute)
            encoder.networks()
            found["weights"]["text"] = live.size - before
            for count in (1, 16):
                noted("captions", count, lambda count=count: encoder(["a"] * count))
    return found
