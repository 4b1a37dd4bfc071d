"""What a run asks of a card, by its settings and its pictures."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.schema import Config
from engine.data.items import Scan
from engine.vram.estimate import Adapters, Load
from engine.vram.exact import Model, exact

TEXT_BATCH = 16  # captions encoded at once unless the settings say otherwise: 2 GB of activations for SDXL's larger encoder


@dataclass(frozen=True)
class Pictures:
    """The sizes that count."""

    batch: int  # pictures in a step
    pixels: int  # of the largest bucket
    preview: int = 0  # pixels of the largest sample picture; 0: none is made


def pictures(scan: Scan, preview: int = 0) -> Pictures:
    """Those of the run's pictures. Where batches and sizes differ from data set to data set, the largest of each is taken."""
    sizes = [item.placement.bucket for item in scan.items]
    return Pictures(max(dataset.batch_size for dataset in scan.datasets), max(width * height for width, height in sizes), preview)


def asked(config: Config, model: Model, precision: str, sizes: Pictures) -> Load:
    """The numbers that `estimate.predict` takes, for a run that computes in `precision` (`no`, `fp16` or `bf16`).

    Raises UserError for what the settings cannot train.
    """
    found = exact(config, model, precision)
    text = [part for part in model.layout.text_parts if part in found.trained]
    outline, networks = found.outline, found.networks
    return Load(
        family=model.layout.name,
        precision=precision,
        vae_precision=found.vae_precision,
        checkpointing=config.training.gradient_checkpointing,
        batch=sizes.batch,
        pixels=sizes.pixels,
        tokens=(config.model.max_token_length or 75) + 2,
        adapters=Adapters(
            method="lora" if outline.form.thin else "loha",
            rank=outline.rank(square=False),
            conv_rank=outline.rank(square=True),
            text=bool(text),
            parameters=found.parameters.allocated,
            optimizer=found.optimizer.allocated,
        ),
        unet=networks["unet"].allocated,
        text=sum(networks[part].allocated for part in model.layout.text_parts),
        vae=networks["vae"].allocated,
        text_stays=bool(text) or config.data.cache_text_encoder_outputs is False,
        vae_batch=config.data.vae_batch_size,
        text_batch=config.data.text_encoder_batch_size or TEXT_BATCH,
        preview_pixels=sizes.preview,
    )
