"""What a run would train on: folders, buckets, captions, length. Odd pictures are named. No torch: index, captions and order are enough."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.data.captions import fixed_text, varies
from engine.data.items import Item, Scan, Subset
from engine.data.order import Order, epoch_order, uses
from engine.data.scan import captions_from, trigger_words
from engine.errors import plural
from engine.tools.captions.rules import groups
from engine.tools.trigger_audit import CountTokens, audit

RemarkKind = Literal["small", "cut", "copy", "long"]

_ENLARGED = 1.5  # a picture made larger than this many times looks soft
_CUT = 0.25  # a picture that loses more than this share of its area may lose its subject
_UNEVEN = 3.0  # concepts seen this many times as often as others are worth a word


@dataclass(frozen=True)
class RunShape:
    """How long the run is, as `Order.length` reads it, and how its steps gather."""

    seed: int = 42
    steps: int = 1600
    epochs: int | None = None
    accumulation: int = 1
    world: int = 1
    max_tokens: int = 75  # of one caption, without start and end


@dataclass(frozen=True)
class FolderReport:
    """One folder of pictures. `samples` is how many an epoch takes from it, and `share` of all, 0..1."""

    subset: Subset
    dataset: int
    pictures: int
    samples: int
    share: float
    captions: str  # where they come from
    varying: int  # captions that are drawn anew each time
    trigger: tuple[str, ...]


@dataclass(frozen=True)
class BucketReport:
    """One bucket of one data set in the first epoch. `cut` is the mean share of a picture's area that is cut off, 0..1."""

    dataset: int
    size: tuple[int, int]
    pictures: int
    samples: int
    batches: int
    cut: float


@dataclass(frozen=True)
class Remark:
    """Something odd about one picture that does not stop a run."""

    kind: RemarkKind
    text: str


@dataclass(frozen=True)
class PictureReport:
    """One item: its caption as it is without random parts, the caption's tokens, and what is odd about it."""

    item: Item
    caption: str
    varies: bool
    tokens: int
    cut: float
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class Report:
    """Everything `check` has to say. `problems` stop a run, `remarks` do not."""

    scan: Scan
    plan: RunShape
    folders: tuple[FolderReport, ...]
    buckets: tuple[BucketReport, ...]
    pictures: tuple[PictureReport, ...]
    triggers: tuple[str, ...]
    remarks: tuple[str, ...]
    steps_per_epoch: int
    samples_per_epoch: int
    epochs: int
    steps: int


def examine(found: Scan, count_tokens: CountTokens, plan: RunShape) -> Report:
    """The report on a scan. `count_tokens` gives the number of tokens of each text, without start and end."""
    counts = uses(found.items, 1)
    pictures = _pictures(found, count_tokens, plan)
    order = Order(found, plan.seed, accumulation=plan.accumulation, world=plan.world)
    steps, epochs, steps_per_epoch = (*order.length(plan.steps, plan.epochs), order.steps_in(1)) if sum(counts) else (0, 0, 0)
    folders = _folders(found, counts)
    return Report(
        scan=found,
        plan=plan,
        folders=folders,
        buckets=_buckets(found, counts, plan),
        pictures=pictures,
        triggers=audit(found, count_tokens, groups()),
        remarks=(*found.notes, *_remarks(folders, pictures, plan)),
        steps_per_epoch=steps_per_epoch,
        samples_per_epoch=sum(counts),
        epochs=epochs,
        steps=steps,
    )


def _folders(found: Scan, counts: Sequence[int]) -> tuple[FolderReport, ...]:
    """One report a subset."""
    total = sum(counts) or 1
    triggers = trigger_words(found)
    places: dict[int, list[int]] = defaultdict(list)
    for place, item in enumerate(found.items):
        places[item.subset].append(place)
    datasets = [number for number, dataset in enumerate(found.datasets) for _ in dataset.subsets]
    reports = []
    for number, subset in enumerate(found.subsets):
        items = [found.items[place] for place in places[number]]
        samples = sum(counts[place] for place in places[number])
        varying = sum(varies(item.caption, subset.options.captions) for item in items)
        trigger = triggers.get(number, ())
        captions = captions_from(subset, items)
        reports.append(FolderReport(subset, datasets[number], len(items), samples, samples / total, captions, varying, trigger))
    return tuple(reports)


def _buckets(found: Scan, counts: Sequence[int], plan: RunShape) -> tuple[BucketReport, ...]:
    """One report a bucket that holds pictures, by data set and size."""
    members: dict[tuple[int, tuple[int, int]], list[int]] = defaultdict(list)
    for place, item in enumerate(found.items):
        members[item.dataset, item.placement.bucket].append(place)
    batches = Counter(
        (found.items[batch[0]].dataset, found.items[batch[0]].placement.bucket)
        for batch in epoch_order(found.items, found.batch_sizes, plan.seed, 1)
    )
    return tuple(
        BucketReport(
            dataset,
            size,
            len(places),
            sum(counts[place] for place in places),
            batches[dataset, size],
            sum(cut_off(found.items[place]) for place in places) / len(places),
        )
        for (dataset, size), places in sorted(members.items())
    )


def _pictures(found: Scan, count_tokens: CountTokens, plan: RunShape) -> tuple[PictureReport, ...]:
    """One report an item; each distinct caption is counted once."""
    captions = [fixed_text(item.caption, found.caption_options(item)) for item in found.items]
    distinct = list(dict.fromkeys(captions))
    tokens = dict(zip(distinct, count_tokens(distinct), strict=True)) if distinct else {}
    first: dict[tuple[int, str], Item] = {}
    reports = []
    for item, caption in zip(found.items, captions, strict=True):
        cut, scale = cut_off(item), max(new / old for new, old in zip(item.placement.resized, item.size, strict=True))
        twin = first.setdefault((item.dataset, item.digest), item)
        remarks = []
        if scale > _ENLARGED:
            remarks.append(Remark("small", f"enlarged {scale:.1f} times ({item.size[0]} x {item.size[1]} pixels)"))
        if cut > _CUT:
            remarks.append(Remark("cut", f"{cut:.0%} cut off"))
        if twin is not item:
            remarks.append(Remark("copy", f"the same file as {twin.image.parent.name}/{twin.image.name}"))
        if tokens[caption] > plan.max_tokens:
            remarks.append(Remark("long", f"{tokens[caption]} tokens, of which {plan.max_tokens} are read"))
        drawn = varies(item.caption, found.caption_options(item))
        reports.append(PictureReport(item, caption, drawn, tokens[caption], cut, tuple(remarks)))
    return tuple(reports)


def cut_off(item: Item) -> float:
    """The share of the resized picture's area that lies outside the crop, 0..1."""
    (width, height), (whole_width, whole_height) = item.placement.bucket, item.placement.resized
    return 1 - width * height / (whole_width * whole_height)


def _remarks(folders: Sequence[FolderReport], pictures: Sequence[PictureReport], plan: RunShape) -> list[str]:
    """What the whole set's odd pictures and proportions come to."""
    remarks = []
    kinds: dict[RemarkKind, str] = {
        "small": f"enlarged more than {_ENLARGED:g} times, which looks soft; use larger ones, or bucket_no_upscale",
        "cut": f"cut by more than {_CUT:.0%} of the area; the contact sheet shows what is left",
        "copy": "identical to another in the set",
        "long": f"with a caption longer than {plan.max_tokens} tokens, whose end is not read; see max_token_length",
    }
    for kind, text in kinds.items():
        paths = [picture.item.image for picture in pictures if any(remark.kind == kind for remark in picture.remarks)]
        if paths:
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            shown = ", ".join(f"{path.parent.name}/{path.name}" for path in paths[:5])
            remarks.append(f"{plural(len(paths), 'picture')} {text}: {shown}{more}")
    concepts = [folder for folder in folders if not folder.subset.is_reg and folder.samples]
    if concepts:
        most, least = max(concepts, key=lambda folder: folder.samples), min(concepts, key=lambda folder: folder.samples)
        if most.samples > _UNEVEN * least.samples:
            remarks.append(
                f"`{most.subset.directory.name}` is seen {most.samples / least.samples:.1f} times as often as "
                f"`{least.subset.directory.name}`; change their repeats if both matter"
            )
    return remarks


def length(report: Report) -> str:
    """How long the run is, in words."""
    sizes = sorted(set(report.scan.batch_sizes))
    batch = " and ".join(map(str, sizes)) + (f" x {report.plan.accumulation} accumulated" if report.plan.accumulation > 1 else "")
    return (
        f"One epoch: {plural(report.samples_per_epoch, 'sample')} in {plural(report.steps_per_epoch, 'step')} (batch size {batch}). "
        f"The run: {plural(report.steps, 'step')}, {plural(report.epochs, 'epoch')}."
    )


def tokens(report: Report) -> str:
    """The captions' lengths, in words."""
    counts = sorted(picture.tokens for picture in report.pictures)
    if not counts:
        return "No captions."
    over = sum(count > report.plan.max_tokens for count in counts)
    longer = f"{over} are" if over > 1 else "one is" if over else "none is"
    return f"Captions: {counts[len(counts) // 2]} tokens (median), {counts[-1]} at most; {longer} longer than {report.plan.max_tokens}."


def folder_name(folder: FolderReport, several: bool) -> str:
    """A folder's name; with its data set's number where there are several."""
    kind = " (regularisation)" if folder.subset.is_reg else ""
    return folder.subset.directory.name + kind + (f" (data set {folder.dataset + 1})" if several else "")


def bucket_name(bucket: BucketReport, several: bool) -> str:
    """A bucket's size; with its data set's number where there are several."""
    return f"{bucket.size[0]} x {bucket.size[1]}" + (f" (data set {bucket.dataset + 1})" if several else "")


def captions_of(folder: FolderReport) -> str:
    """Where a folder's captions come from, and how many of them are drawn anew each time, in words."""
    varying = "all" if folder.varying == folder.pictures else str(folder.varying)
    return f"{folder.captions}; {varying} vary" if folder.varying else folder.captions
