"""Latents to pixels: rounded as they should be, in tiles where they are large."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch
from generation_fakes import CPU, Tiny, Vae, tiny_vae

from engine.generation import decoding
from engine.generation.decoding import decode
from engine.models.decoding import decode_bytes, needs_tiles

PLAIN_TO = torch.Tensor.to


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


def test_on_a_card_only_what_would_not_fit_is_decoded_in_tiles(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free counts with what torch holds for nothing, which is given back first."""
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("empty"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: (4 << 30) - (1 << 20))
    monkeypatch.setattr(decoding, "_lent", lambda network, device: contextlib.nullcontext())
    seen: list[int] = []
    monkeypatch.setattr(decoding, "needs_tiles", lambda pixels, itemsize, free: seen.append(free))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where: self if where[0] == torch.device("cuda") else PLAIN_TO(self, *where))
    decode(Tiny(), vae, [torch.zeros(4, 8, 8)], torch.device("cuda"))
    assert asked == ["empty"] and seen == [(3 << 30) + (1 << 20)]


def test_the_vae_is_lent_and_nothing_is_copied_back(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own tensors come back, not copies of them; also after an error."""
    vae.register_buffer("positions", torch.arange(3))
    own = [*vae.parameters(), *vae.buffers()]
    elsewhere = torch.device("meta")  # a device that every machine has
    for error in (None, RuntimeError("no")):
        with contextlib.suppress(RuntimeError), decoding._lent(vae, elsewhere):
            assert {tensor.device for tensor in (*vae.parameters(), *vae.buffers())} == {elsewhere}
            assert not any(parameter.requires_grad for parameter in vae.parameters()) and len(list(vae.parameters())) == 1
            if error:
                raise error
        assert all(now is before for now, before in zip((*vae.parameters(), *vae.buffers()), own, strict=True))
    with decoding._lent(vae, CPU):
        assert next(vae.parameters()) is own[0], "where it is already, nothing is made"


def test_tiles_are_for_what_passes_the_memory() -> None:
    whole = decode_bytes(1024 * 1024, 2)
    assert whole == 1024 * 1024 * 1024 * 2
    assert not needs_tiles(1024 * 1024, 2, whole) and needs_tiles(1024 * 1024, 2, whole - 1) and needs_tiles(1024 * 1024, 4, whole)


def test_it_is_foretold_without_torch() -> None:
    told = subprocess.run(
        [sys.executable, "-s", "-c", "import engine.models.decoding, sys; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "False"
