"""From the settings to the pictures of a run. Which folders, in which buckets, with which captions. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from engine.config.schema_data import DataConfig, DatasetOptions, SubsetConfig
from engine.config.schema_data import SubsetOptions as SubsetSettings
from engine.data.buckets import BucketOptions
from engine.data.captions import CaptionOptions
from engine.data.folder import Found, find
from engine.data.index import Index
from engine.data.items import Dataset, Scan, Subset, SubsetOptions
from engine.data.scan import scan
from engine.errors import UserError

_SHORTEST = 256  # pixels, sd-scripts' shortest bucket side


def read_pictures(data: DataConfig, resolution: int, max_bucket: int, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Scan the folders that the settings name. `resolution` and `max_bucket` (pixels) hold where the settings leave them out.

    Files that cannot be used are problems of the scan, not errors. Raises UserError for missing folders and folders without pictures.
    """
    notes: tuple[str, ...] = ()
    if data.datasets:
        datasets = [
            Dataset(
                tuple(_subset(subset) for subset in dataset.subsets),
                _buckets(dataset.options, resolution, max_bucket),
                dataset.options.batch_size,
            )
            for dataset in data.datasets
        ]
    else:
        found = _folders(data)
        notes = found.notes
        datasets = [Dataset(found.subsets, _buckets(data.dataset_options(), resolution, max_bucket), data.train_batch_size)]
    with Index(Path(data.cache_dir)) as index:
        return scan(datasets, index, notes=notes, progress=progress)


def training_folders(data: DataConfig) -> tuple[tuple[Subset, ...], tuple[str, ...]]:
    """The folders of pictures that the settings name, each once and without those of regularisation, and notes on the choice."""
    if data.datasets:
        named = [_subset(subset) for dataset in data.datasets for subset in dataset.subsets]
        notes: tuple[str, ...] = ()
    else:
        found = _folders(data)
        named, notes = list(found.subsets), found.notes
    by_path = {os.path.abspath(subset.directory): subset for subset in reversed(named) if not subset.is_reg}
    return tuple(reversed(by_path.values())), notes


def _folders(data: DataConfig) -> Found:
    """The folder method."""
    if not data.train_data_dir:
        raise UserError(
            "no pictures are named",
            "give the folder that holds your `<repeats>_<name>` folders, for instance train_data",
            where="train_data_dir",
        )
    reg = Path(data.reg_data_dir) if data.reg_data_dir else None
    return find(Path(data.train_data_dir), reg, repeats=data.dataset_repeats, options=_subset_options(data.subset_options()))


def _buckets(options: DatasetOptions, resolution: int, max_bucket: int) -> BucketOptions:
    size = options.resolution or (resolution, resolution)
    step = options.bucket_reso_steps
    return BucketOptions(
        resolution=size,
        enable=options.enable_bucket,
        minimum=options.min_bucket_reso or max(step, min(_SHORTEST, min(size) // 2 // step * step)),
        maximum=options.max_bucket_reso or max_bucket,
        step=step,
        no_upscale=options.bucket_no_upscale,
    )


def _subset(given: SubsetConfig) -> Subset:
    options = given.options
    return Subset(Path(given.image_dir), options.num_repeats, options.class_tokens or "", options.is_reg, _subset_options(options))


def _subset_options(options: SubsetSettings) -> SubsetOptions:
    captions = CaptionOptions(
        shuffle_caption=options.shuffle_caption,
        keep_tokens=options.keep_tokens,
        keep_tokens_separator=options.keep_tokens_separator,
        caption_separator=options.caption_separator,
        secondary_separator=options.secondary_separator or "",
        enable_wildcard=options.enable_wildcard,
        caption_prefix=options.caption_prefix or "",
        caption_suffix=options.caption_suffix or "",
        caption_dropout_rate=options.caption_dropout_rate,
        caption_dropout_every_n_epochs=options.caption_dropout_every_n_epochs,
        caption_tag_dropout_rate=options.caption_tag_dropout_rate,
        token_warmup_min=options.token_warmup_min,
        token_warmup_step=options.token_warmup_step,
    )
    return SubsetOptions(captions, options.caption_extension, options.flip_aug, options.resize_interpolation or "")
