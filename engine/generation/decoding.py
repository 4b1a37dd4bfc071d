"""Latents -> pixels, one picture at a time, in tiles where memory is short."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from engine import allocation
from engine.models.decoding import TILE, needs_tiles
from engine.models.family import Family
from engine.models.vae import decode_images

_CPU_BYTES = 4 << 30  # what decoding may take on a CPU before it is done in tiles: 1024 x 1024 in fp32


class TiledVae(Protocol):
    """The part of diffusers' AutoencoderKL that sets tiles."""

    tile_sample_min_size: int  # pixels
    tile_latent_min_size: int  # latent cells

    def enable_tiling(self) -> None:
        """Decode in overlapping tiles."""

    def disable_tiling(self) -> None:
        """Decode in one piece."""


@torch.no_grad()
def decode(family: Family, vae: nn.Module, latents: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Latents in the network's units, each [C, h, w] of any size -> pixels, each uint8 [H, W, 3] on the CPU.

    The frozen VAE, in its own dtype, is lent to `device` for all the pictures, which it decodes one after the other. A picture that would
    not fit into free memory is decoded in tiles. What is not finite comes out black.
    """
    itemsize = next(vae.parameters()).dtype.itemsize
    allocation.give_back(device)  # what sampling has left in pieces would count as free, and be no room for a large map
    with _lent(vae, device):
        pictures = []
        for latent in latents:
            pixels = latent.shape[-2] * latent.shape[-1] * family.latent.stride**2
            with _tiles(vae, family.latent.stride, needs_tiles(pixels, itemsize, _free_bytes(device))):
                decoded = decode_images(vae, family.latent.unscaled(latent[None].to(device)))
            levels = (decoded[0] * 127.5 + 127.5).nan_to_num(0.0, 0.0, 0.0).round().clamp(0, 255)
            pictures.append(levels.to(torch.uint8).permute(1, 2, 0).cpu())
            del decoded, levels  # before the next picture's room is measured
        return pictures


@contextlib.contextmanager
def _lent(network: nn.Module, device: torch.device) -> Iterator[None]:
    """A frozen network on `device` inside the block. Its own tensors wait where they were, so that nothing is copied back."""
    own = [
        (module, name, tensor)
        for module in network.modules()
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if tensor.device != device
    ]
    try:
        for module, name, tensor in own:
            copy = tensor.detach().to(device)
            setattr(module, name, nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy)
        yield
    finally:
        for module, name, tensor in own:
            setattr(module, name, tensor)


@contextlib.contextmanager
def _tiles(vae: nn.Module, stride: int, wanted: bool) -> Iterator[None]:
    """Decode in tiles inside the block, where `wanted`."""
    if not wanted:
        yield
        return
    tiled: TiledVae = vae  # type: ignore[assignment]
    before = tiled.tile_sample_min_size, tiled.tile_latent_min_size
    tiled.tile_sample_min_size, tiled.tile_latent_min_size = TILE, TILE // stride
    tiled.enable_tiling()
    try:
        yield
    finally:
        tiled.disable_tiling()
        tiled.tile_sample_min_size, tiled.tile_latent_min_size = before


def _free_bytes(device: torch.device) -> int:
    """Memory that decoding may use: on a GPU what is free, or held by torch for nothing."""
    if device.type != "cuda":
        return _CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
