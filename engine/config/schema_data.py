"""Settings of the pictures, captions, buckets and caches. Keys are sd-scripts' own unless marked ours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from engine.config.field import Ours, setting
from engine.pixels import INTERPOLATIONS


@dataclass(frozen=True)
class BucketSettings:
    """Size and buckets: keys that mean the same in a run file and in a dataset file."""

    resolution: tuple[int, int] | None = setting(
        None, 'width and height in pixels: 512, "512,768" or [512, 768]; left out: the model family\'s', kind="size"
    )
    enable_bucket: bool = setting(True, "group pictures by aspect ratio instead of cropping all to one size", sd_default=False)
    min_bucket_reso: int | None = setting(
        None, "shortest bucket side, pixels; left out: 256, or half of a smaller resolution", low=64, sd_default=256
    )
    max_bucket_reso: int | None = setting(
        None, "longest bucket side, pixels; left out: the model family's (1024, SDXL 2048)", low=64, sd_default=1024
    )
    bucket_reso_steps: int = setting(64, "bucket sides are multiples of this, pixels: 64, or 32 for SDXL", low=32, high=512)
    bucket_no_upscale: bool = setting(False, "never enlarge a small picture; it gets a smaller bucket")
    resize_interpolation: str | None = setting(
        None, "how pictures are resized; left out: area when shrinking, Lanczos otherwise", choices=INTERPOLATIONS
    )


@dataclass(frozen=True)
class CaptionSettings:
    """Captions and mirroring: keys that mean the same in a run file and in a dataset file."""

    caption_extension: str = setting(
        ".txt",
        "ending of caption files; of several, `.caption,.txt`, the first that a picture has",
        kind="extension",
        sd_default=".caption",
        pasted=Ours("a .txt is read where there is no .caption", value=".caption,.txt"),
    )
    shuffle_caption: bool = setting(False, "shuffle the tags of a caption each time it is used")
    keep_tokens: int = setting(0, "leading tags that are neither shuffled nor dropped", low=0)
    keep_tokens_separator: str = setting("", "text in a caption that ends its fixed part, such as `|||`")
    caption_separator: str = setting(",", "what stands between tags")
    secondary_separator: str | None = setting(None, "joins tags that move as one, such as `;;;`; becomes caption_separator")
    enable_wildcard: bool = setting(False, "draw one line of a caption file, and one member of each {a|b|c}")
    caption_prefix: str | None = setting(None, "text put before every caption")
    caption_suffix: str | None = setting(None, "text put after every caption")
    caption_dropout_rate: float = setting(0.0, "share of captions replaced by an empty one, 0-1", low=0, high=1)
    caption_dropout_every_n_epochs: int = setting(0, "drop every caption in each n-th epoch; 0 = never", low=0)
    caption_tag_dropout_rate: float = setting(0.0, "share of unfixed tags left out, 0-1", low=0, high=1)
    token_warmup_min: int = setting(1, "tags shown at the first step of token warm-up", low=0)
    token_warmup_step: float = setting(0.0, "steps until all tags are shown; below 1: share of all steps; 0 = off", low=0)
    flip_aug: bool = setting(False, "mirror half of the pictures, anew each time; not for text or one-sided details")


@dataclass(frozen=True)
class DatasetOptions(BucketSettings):
    """What holds for all pictures of one dataset. Keys of `[general]` and `[[datasets]]`."""

    batch_size: int = setting(1, "pictures in a step", low=1)


@dataclass(frozen=True)
class SubsetOptions(CaptionSettings):
    """What holds for the pictures of one folder. Keys of `[general]`, `[[datasets]]` and `[[datasets.subsets]]`."""

    num_repeats: int = setting(1, "times each picture is seen in an epoch", low=1)
    class_tokens: str | None = setting(None, "caption of pictures that have no caption file")
    is_reg: bool = setting(False, "these are regularisation pictures (subset only)")
    resize_interpolation: str | None = setting(None, "as the dataset's key, for this folder only", choices=INTERPOLATIONS)


@dataclass(frozen=True)
class SubsetConfig:
    """One folder of pictures named in a dataset file."""

    image_dir: str
    options: SubsetOptions


@dataclass(frozen=True)
class DatasetConfig:
    """One `[[datasets]]` entry: its own buckets and batch size over its folders."""

    options: DatasetOptions
    subsets: tuple[SubsetConfig, ...]


@dataclass(frozen=True)
class DataConfig(CaptionSettings, BucketSettings):
    """Pictures, captions, buckets and caches.

    `datasets` is what `[[datasets]]` of the run's file or of the file named by `dataset_config` says; empty for the folder method.
    """

    train_data_dir: str | None = setting(None, "folder that holds the `<repeats>_<name>` folders of pictures", kind="path", behind="FOLDER")
    reg_data_dir: str | None = setting(None, "folder of regularisation pictures, laid out the same way", kind="path")
    train_batch_size: int = setting(1, "pictures in a step", low=1)
    dataset_repeats: int = setting(1, "repeats of folders whose dataset file says none; `<repeats>_<name>` folders say their own", low=1)
    prior_loss_weight: float = setting(1.0, "weight of regularisation pictures in the loss", low=0)
    alpha_background: str = setting("#ffffff", "colour laid under transparent pixels, `#rrggbb`", kind="colour", ours=True)

    cache_latents: bool = setting(True, "encode every picture once, before training", sd_default=False, pasted=Ours())
    cache_latents_to_disk: bool = setting(True, "keep encoded pictures in cache_dir for the next run", sd_default=False, pasted=Ours())
    vae_batch_size: int = setting(1, "pictures encoded at once", low=1)
    cache_text_encoder_outputs: bool | None = setting(
        None, "encode every caption once; left out: whenever the text encoders are not trained", sd_default=False, pasted=Ours()
    )
    cache_text_encoder_outputs_to_disk: bool = setting(
        True, "keep encoded captions in cache_dir for the next run", sd_default=False, pasted=Ours()
    )
    text_encoder_batch_size: int | None = setting(None, "captions encoded at once; left out: chosen for the model", low=1)
    cache_dir: str = setting("cache", "folder of encoded pictures and captions, shared by all runs", kind="path", ours=True)
    text_cache_limit_mb: int = setting(
        2048, "most memory for encoded captions that vary, MB; captions beyond it are encoded in the step", low=0, ours=True
    )

    datasets: tuple[DatasetConfig, ...] = ()

    def dataset_options(self) -> DatasetOptions:
        """The flat settings as the options of a dataset that sets none of its own."""
        return DatasetOptions(batch_size=self.train_batch_size, **_values(BucketSettings, self))

    def subset_options(self) -> SubsetOptions:
        """The flat settings as the options of a folder that sets none of its own."""
        return SubsetOptions(num_repeats=self.dataset_repeats, **_values(CaptionSettings, self))


def _values(kind: type[BucketSettings | CaptionSettings], source: DataConfig) -> dict[str, Any]:
    """The values in `source` of the fields of `kind`."""
    return {field.name: getattr(source, field.name) for field in dataclasses.fields(kind)}
