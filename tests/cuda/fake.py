"""What a full-size run on fake tensors stands in for: the model's file, the kernels that a card chooses, values that are read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.utils.clip_grad as clip
import torch.utils._foreach_utils as foreach
from torch._subclasses import fake_impls, fake_tensor

from benchmarks.models import SPECS
from engine import trials
from engine.data import cache
from engine.models import blueprint, layouts, weights
from engine.models.base_model import Base
from engine.training.run import Run
from tests.cuda.live import Live

_aten = torch.ops.aten
_HALVES = (torch.float16, torch.bfloat16)
_LAYOUTS = {"sd1": layouts.SD1, "sdxl": layouts.SDXL}
FLASH, EFFICIENT = 1, 2  # torch's SDPBackend


def checkpoint(model: str, folder: Path) -> Path:
    """A sparse file whose header is that of a full-size model in fp16; its values are holes."""
    family, specs = SPECS[model]
    parts = {part.name: part for part in _LAYOUTS[family].parts}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, spec in specs.items():
        tensors = {key: torch.empty(shape, device="meta") for key, shape in blueprint.tensors(spec).items()}
        part = parts[name]
        shapes.update((key, tuple(tensor.shape)) for key, tensor in weights.original(part.kind, part.prefixes[0], tensors).items())
    header, at = {}, 0
    for name in sorted(shapes):
        size = 2 * math.prod(shapes[name])
        header[name] = {"dtype": "F16", "shape": list(shapes[name]), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path = folder / f"empty-{model}.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)
    return path


@dataclass
class Card:
    """The card that is not there. Both may change during a run."""

    capability: tuple[int, int] = (8, 6)
    gib: float = 24.0

    def attention(self, query: torch.Tensor, masked: bool = False) -> int:
        """What PyTorch chooses: flash for halves of up to 256 a head on Ampere and newer, else the memory-efficient kernels."""
        flash = query.dtype in _HALVES and query.shape[-1] <= 256 and self.capability >= (8, 0) and not masked
        return FLASH if flash else EFFICIENT


@contextmanager
def stand_ins(card: Card, live: Live) -> Iterator[None]:
    """Whatever FakeTensorMode needs to believe in a card on a torch without CUDA."""

    def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):  # type: ignore[no-untyped-def]
        if card.attention(q, attn_mask is not None) == FLASH:
            return _aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, False, scale=scale)[0]
        recorded = torch.is_grad_enabled()
        return _aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, recorded, dropout_p, is_causal, scale=scale)[0]

    def answer(mode: object, func: object, tensor: torch.Tensor) -> object:
        """Whatever is read is finite, and no gradient overflowed."""
        return True if tensor.dtype == torch.bool else 0.0 if tensor.dtype.is_floating_point else 1

    live.answers["_fused_sdp_choice"] = lambda args: card.attention(args[0])

    def total() -> int:
        return int(card.gib * 2**30)

    with ExitStack() as stack:
        for owner, name, value in (
            (torch.nn.functional, "scaled_dot_product_attention", attention),
            (fake_tensor, "init_gpu_context", lambda device: None),
            (fake_tensor.FakeTensorMode, "avoid_device_init", property(lambda mode: True)),
            (clip, "_has_foreach_support", lambda tensors, device: True),  # asks for plain tensors
            (foreach, "_has_foreach_support", lambda tensors, device: True),
            (torch.Tensor, "pin_memory", lambda tensor, device=None: tensor),
            (torch.cuda, "memory_allocated", lambda device=None: live.size),
            (torch.cuda, "memory_reserved", lambda device=None: live.size),
            (torch.cuda, "mem_get_info", lambda device=None: (total() - live.size, total())),
            (trials, "card", lambda device: ""),  # it needs values
            (trials, "fp16", lambda device: ""),
            (weights, "reader", _reader),
            (Base, "identity", lambda base, part: part),  # a hash of gigabytes of holes
            (Base, "file_hash", lambda base: "0" * 64),
        ):
            stack.enter_context(_set(owner, name, value))
        scalar = _aten._local_scalar_dense.default
        before = fake_impls.op_implementations_dict[scalar]
        fake_impls.op_implementations_dict[scalar] = answer
        stack.callback(fake_impls.op_implementations_dict.__setitem__, scalar, before)
        yield


@contextmanager
def _reader(source: Any) -> Iterator[Callable[[str], torch.Tensor]]:
    """Tensors of the file's shapes, without reading it."""
    yield lambda name: torch.empty(source.entries[name].shape, dtype=weights._TORCH_DTYPES[source.entries[name].dtype])


@contextmanager
def encoded_before(run: Run) -> Iterator[None]:
    """Pictures and captions lie in the caches, and neither VAE nor text encoders run."""
    nothing = cache.CacheReport(0, 0)

    def latents(self: object, item: Any, flip: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        width, height = item.placement.bucket
        return torch.empty(4, height // 8, width // 8), torch.empty(4, height // 8, width // 8)

    with ExitStack() as stack:
        for owner, name, value in (
            (cache.LatentCache, "ensure", lambda *args, **kwargs: nothing),
            (cache.LatentCache, "get", latents),
            (cache.TextCache, "ensure", lambda *args, **kwargs: nothing),
            (cache.TextCache, "get", lambda self, captions: text(run, len(captions))),
        ):
            stack.enter_context(_set(owner, name, value))
        yield


def text(run: Run, count: int) -> dict[str, torch.Tensor]:
    """Encoded captions."""
    tokens = (run.config.model.max_token_length or 75) + 2
    wide = {"sd1": {"hidden": (tokens, 768)}, "sdxl": {"hidden": (tokens, 2048), "pooled": (1280,)}}[run.base.family.name]
    return {name: torch.empty((count, *shape), dtype=run.compute.dtype) for name, shape in wide.items()}


@contextmanager
def wrapped(module: ModuleType, wraps: Mapping[str, Callable[[Callable[..., object]], Callable[..., object]]]) -> Iterator[None]:
    """Functions of a module inside the block, each with something around it."""
    with ExitStack() as stack:
        for name, wrap in wraps.items():
            stack.enter_context(_set(module, name, wrap(getattr(module, name))))
        yield


@contextmanager
def _set(owner: object, name: str, value: object) -> Iterator[None]:
    """An attribute inside the block. It must be there."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
