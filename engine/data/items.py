"""The types of this room: folders, data sets, pictures, and all of a run's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.data.buckets import BucketOptions, Placement, Size
from engine.data.captions import CaptionOptions

CaptionSource = Literal["file", "folder", "none"]


@dataclass(frozen=True)
class SubsetOptions:
    """How the pictures of one folder are treated."""

    captions: CaptionOptions = field(default_factory=CaptionOptions)
    caption_extension: str = ".txt"
    flip_aug: bool = False
    resize_interpolation: str = ""  # empty: area where both sides shrink, else Lanczos


@dataclass(frozen=True)
class Subset:
    """One folder of pictures. `class_tokens` is the caption of pictures that have no caption file."""

    directory: Path
    repeats: int = 1
    class_tokens: str = ""
    is_reg: bool = False
    options: SubsetOptions = field(default_factory=SubsetOptions)


@dataclass(frozen=True)
class Dataset:
    """Folders that share their buckets and batch size; a run may have several, for instance one a resolution."""

    subsets: tuple[Subset, ...]
    buckets: BucketOptions
    batch_size: int = 1


@dataclass(frozen=True)
class Item:
    """One picture of one folder, ready to be cached and trained on."""

    image: Path
    caption: str  # the caption file's whole text, or the folder's text
    caption_source: CaptionSource
    dataset: int  # index into Scan.datasets
    subset: int  # index into Scan.subsets
    repeats: int  # of its folder; how often a regularisation picture is really used is decided per epoch
    is_reg: bool
    size: Size  # pixels, EXIF orientation applied
    digest: str  # SHA-256 of the file
    placement: Placement
    flip_aug: bool
    interpolation: str
    traits: tuple[str, ...] = ()  # "alpha", "animated", "16-bit", ... (engine/data/decode.py)


@dataclass(frozen=True)
class Problem:
    """A file that cannot be trained on as it is, and the remedy."""

    file: Path
    message: str
    hint: str


@dataclass(frozen=True)
class Scan:
    """Everything a run knows of its pictures. `subsets` are those of all data sets in order."""

    datasets: tuple[Dataset, ...]
    subsets: tuple[Subset, ...]
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch size of each data set."""
        return tuple(dataset.batch_size for dataset in self.datasets)

    def caption_options(self, item: Item) -> CaptionOptions:
        """How this item's caption is treated."""
        return self.subsets[item.subset].options.captions
