"""Latents to pixels: rounded as they should be, in tiles where they are large."""

from __future__ import annotations

import pytest
import torch
from generation_fakes import CPU, Tiny, Vae, tiny_vae

from engine.generation import decoding
from engine.generation.decoding import decode


@pytest.fixture
def vae(monkeypatch: pytest.MonkeyPatch) -> Vae:
    return tiny_vae(monkeypatch)


def test_decoding_unscales_and_rounds(vae: Vae) -> None:
    spec = Tiny.latent
    wide = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(4, 2, 5)
    small = torch.full((4, 1, 1), float("nan"))
    pictures = decode(Tiny(), vae, [spec.scaled(wide[None])[0], small], CPU)
    assert pictures[0].dtype == torch.uint8 and pictures[0].shape == (16, 40, 3)
    assert pictures[0][0, ::8, 0].tolist() == [0, 0, 128, 255, 255]
    assert pictures[1].unique().tolist() == [0] and not vae.tiled


def test_a_large_picture_is_decoded_in_tiles(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_CPU_BYTES", 4 * 1024 * 64 * 64)
    decode(Tiny(), vae, [torch.zeros(4, 8, 8), torch.zeros(4, 8, 9)], CPU)
    assert vae.tiled == [("on", 512, 64), ("off", 512, 64)]
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (1024, 128)
