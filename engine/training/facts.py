"""What a run knows of itself before its first step.

It is gathered here once, for the saved files' metadata and the summary at the start.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from pathlib import Path

from engine import adapters
from engine.data import scan
from engine.data.items import Item, Scan
from engine.optimization.optimizers import OptimizerRow
from engine.training.metadata import Facts, Folder
from engine.training.run import Run


def gather(run: Run, name: str, optimizer: OptimizerRow, warmup: int) -> Facts:
    """Collect the facts."""
    base, plan, rates = run.base, run.plan, run.chosen.rates
    found = plan.order.scan
    batches = plan.order.epoch(1)
    items = [found.items[place] for batch in batches for place in batch]
    dataset = found.datasets[0]
    return Facts(
        base_model_version=base.family.base_model_version(base.prediction),
        architecture=base.family.architecture,
        implementation=base.family.implementation,
        prediction=base.prediction,
        zero_terminal_snr=base.zero_terminal_snr,
        model_name=base.path.name,
        model_hash=base.file_hash(),
        model_hash_legacy=_legacy_hash(base.path),
        vae_name=base.vae.name if base.vae else "",
        folders=_folders(found),
        buckets=dict(Counter(item.placement.bucket for item in items)),
        aspect_error=sum(map(_aspect_error, found.items)) / len(found.items),
        train_images=sum(not item.is_reg for item in items),
        reg_images=sum(item.is_reg for item in items),
        resolution=dataset.buckets.resolution,
        batch_size=dataset.batch_size,
        batches_per_epoch=len(batches),
        epochs=plan.epochs,
        total_steps=plan.total_steps,
        network_module=_sd_scripts_name(run),
        optimizer=optimizer.target.replace(":", "."),
        precision=run.compute.precision,
        output_name=name,
        unet_lr=rates.get("unet"),
        text_encoder_lr=next((rates[part] for part in base.family.text_parts if part in rates), None),
        warmup_steps=warmup,
        clip_skip=base.clip_skip,
        session=random.SystemRandom().randrange(2**32),
        started_at=time.time(),
    )


def _sd_scripts_name(run: Run) -> str:
    """The method under the name that sd-scripts and its tools know."""
    row = adapters.row(run.config.network.network_module)
    return next((name for name in row.aliases if "." in name), row.name)


def trigger_words(found: Scan) -> list[str]:
    """The words that call up what was learned, each once."""
    return list(dict.fromkeys(word for words in scan.trigger_words(found).values() for word in words))


def _folders(found: Scan) -> tuple[Folder, ...]:
    """One entry a folder, with how often each tag stands in its captions."""
    tags = scan.tag_frequency(found)
    images = Counter(item.subset for item in found.items)
    return tuple(
        Folder(subset.directory.name, subset.repeats, images[number], subset.is_reg, tags.get(subset.directory.name, {}))
        for number, subset in enumerate(found.subsets)
    )


def _aspect_error(item: Item) -> float:
    """|picture ratio - bucket ratio|."""
    return abs(item.size[0] / item.size[1] - item.placement.bucket[0] / item.placement.bucket[1])


def _legacy_hash(path: Path) -> str:
    """The 8-digit hash older WebUIs show: SHA-256 over 64 KiB that begin at 1 MiB. Empty for a folder."""
    if path.is_dir():
        return ""
    with open(path, "rb") as handle:
        handle.seek(0x100000)
        return hashlib.sha256(handle.read(0x10000)).hexdigest()[:8]
