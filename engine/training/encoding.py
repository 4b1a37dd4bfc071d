"""Pictures and captions are encoded before the loop. Which networks that needs, for how long, and what the run says of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import allocation
from engine.config.schema import Config
from engine.console import Reporter
from engine.data.batches import Condition, Tokenize
from engine.data.cache import CacheReport, LatentCache, TextCache
from engine.data.images import Changed
from engine.data.index import Index
from engine.data.items import Scan
from engine.data.order import run_captions
from engine.device import Compute
from engine.errors import UserError
from engine.models.base_model import Base
from engine.models.vae import encode_images
from engine.training.plan import Plan
from engine.vram import less
from engine.vram.load import TEXT_BATCH


class TextWay(enum.Enum):
    """How captions reach the U-Net."""

    CACHED = "text is encoded once and kept: the encoders are not trained and the captions do not vary"
    DRAWN_AHEAD = "text is encoded ahead for every caption the seed will draw: the encoders are not trained, the captions vary"
    LIVE_TRAINED = "text is encoded in each step, because the text encoders are trained"
    LIVE_FROZEN = "text is encoded in each step"

    @property
    def trains(self) -> bool:
        """Whether text encoders are trained."""
        return self is TextWay.LIVE_TRAINED


@dataclass(frozen=True)
class Text:
    """Where a batch's text comes from. Exactly one of `condition` and `tokenize` is there; `encoders` are loaded only when live."""

    way: TextWay
    condition: Condition | None = None
    tokenize: Tokenize | None = None
    encoders: Mapping[str, nn.Module] = field(default_factory=dict)


def cache_latents(config: Config, base: Base, compute: Compute, scan: Scan, reporter: Reporter) -> LatentCache:
    """Encode every picture that the cache lacks. The VAE is on the device only meanwhile; it is not loaded when nothing is missing."""
    dtype = base.family.vae_dtype(compute.dtype, config.model.no_half_vae)
    folder = Path(config.data.cache_dir) if config.data.cache_latents and config.data.cache_latents_to_disk else None
    identity = f"{base.identity('vae')} {dtype}"
    cache = LatentCache(folder, identity, torch.float32, background=config.data.alpha_background)
    vae: list[nn.Module] = []  # loaded at the first picture that is missing

    @torch.no_grad()
    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        if not vae:
            vae.append(base.load("vae", dtype, compute.device))
        return encode_images(vae[0], pixels.to(compute.device, dtype))

    short = allocation.explained(compute.device, less.for_latents(config))
    with short, reporter.counting("pictures encoded", len(scan.items), "ready") as counter:
        try:
            report = cache.ensure(
                scan.items, encode, batch_size=config.data.vae_batch_size, progress=lambda done, total: counter.at(done, total)
            )
        except Changed as error:
            with Index(Path(config.data.cache_dir)) as index:  # its size and time may be the old ones: the next start must read it again
                index.forget([error.image])
            raise
    _tell_damaged(report, reporter)
    return cache


class TextEncoder:
    """Captions -> named tensors, with frozen encoders that are loaded when first needed and freed by `drop`."""

    def __init__(self, config: Config, base: Base, compute: Compute) -> None:
        self.base = base
        self._compute = compute
        self._length = config.model.max_token_length
        self._clip_skip = config.model.clip_skip
        self._networks: dict[str, nn.Module] = {}

    def networks(self) -> dict[str, nn.Module]:
        """All text encoders on the device, frozen, by part."""
        if not self._networks:
            self._networks = {part: self.base.load(part, self._compute.dtype, self._compute.device) for part in self.base.family.text_parts}
        return self._networks

    def drop(self) -> None:
        """Forget the networks. Their memory is free once nothing else refers to them."""
        self._networks = {}

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Token ids [E, B, N]."""
        return self.base.family.tokenize(captions, self._length)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Encode captions; every tensor has leading dimension B."""
        family = self.base.family
        return family.pack(family.encode_text(self.networks(), self.tokenize(captions).to(self._compute.device), self._clip_skip))


def prepare_text(config: Config, encoder: TextEncoder, compute: Compute, plan: Plan, trained: frozenset[str], reporter: Reporter) -> Text:
    """Choose the way text is encoded, say which, and do what can be done ahead. `trained` names the text encoders that are trained."""
    if trained:
        if config.data.cache_text_encoder_outputs:
            raise UserError(
                "text outputs cannot be cached while a text encoder is trained",
                "set network_train_unet_only = true, or leave cache_text_encoder_outputs out",
                where="cache_text_encoder_outputs",
            )
        return _live(encoder, TextWay.LIVE_TRAINED, reporter)
    if config.data.cache_text_encoder_outputs is False:
        return _live(encoder, TextWay.LIVE_FROZEN, reporter, ", as cache_text_encoder_outputs = false asks")
    return _ahead(config, encoder, compute, plan, reporter)


def _ahead(config: Config, encoder: TextEncoder, compute: Compute, plan: Plan, reporter: Reporter) -> Text:
    """Encode every caption of the run, unless the varying ones would take more memory than allowed."""
    base = encoder.base
    limit = config.data.text_cache_limit_mb << 20
    cache = TextCache(
        Path(config.data.cache_dir) if config.data.cache_text_encoder_outputs_to_disk else None,
        f"{' '.join(base.identity(part) for part in base.family.text_parts)} {compute.dtype}",
        compute.dtype,
        clip_skip=config.model.clip_skip,
        max_token_length=config.model.max_token_length,
        memory=limit,
    )
    cap = limit // base.text_bytes(config.model.max_token_length, compute.dtype)
    found = run_captions(plan.order, plan.total_steps, limit=cap)
    if not found.complete and found.varying:
        why = f": the captions vary, and more than {cap:,} different ones (text_cache_limit_mb) would have to be kept"
        return _live(encoder, TextWay.LIVE_FROZEN, reporter, why)
    way = TextWay.DRAWN_AHEAD if found.varying else TextWay.CACHED
    reporter.say(way.value)
    short = allocation.explained(compute.device, less.for_text(config))
    with short, reporter.counting("captions encoded", len(found.captions), "ready") as counter:
        report = cache.ensure(
            found.captions,
            encoder,
            batch_size=config.data.text_encoder_batch_size or TEXT_BATCH,
            progress=lambda done, total: counter.at(done, total),
        )
    _tell_damaged(report, reporter)
    return Text(way, condition=cache.get)


def _live(encoder: TextEncoder, way: TextWay, reporter: Reporter, why: str = "") -> Text:
    reporter.say(way.value + why)
    return Text(way, tokenize=encoder.tokenize, encoders=encoder.networks())


def _tell_damaged(report: CacheReport, reporter: Reporter) -> None:
    if report.damaged:
        reporter.notice(f"damaged cache entries found and made again: {len(report.damaged)}")
