"""Folders -> items: captions read, buckets chosen, odd things noted. Pictures are looked up in the index."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from engine.data import encodings
from engine.data.buckets import BucketOptions, Placement, Size, check_options, place
from engine.data.captions import split
from engine.data.folder import Listing, caption_files, endings, is_half_changed, list_folder, require_folder
from engine.data.index import Index
from engine.data.items import CaptionSource, Dataset, Item, Problem, Scan, Subset
from engine.errors import UserError

_LARGEST_CAPTION = 1 << 20  # bytes; nobody writes a megabyte about one picture
_SHOWN = 5  # names in a note before "and n more"
_LISTED = 20  # problems in an error
_HALF_CHANGED = "a command was stopped in the middle: any `captions` command on this folder, such as `captions count`, takes it back"


@dataclass
class _Gathered:
    """What is collected folder by folder."""

    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Caption:
    """One picture's caption, and the encoding where it was not UTF-8."""

    text: str
    source: CaptionSource
    legacy: str = ""
    problem: Problem | None = None


def scan(
    datasets: Sequence[Dataset], index: Index, *, notes: Iterable[str] = (), progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Everything about the pictures of these data sets. `notes` (of `folder.find`) come first in the result's.

    Unusable files are collected as problems; `require_usable` turns them into an error. Raises UserError where a folder is missing,
    holds no pictures, or no bucket can be made.
    """
    gathered = _Gathered(list(notes))
    listings = [_listings(dataset, gathered.notes) for dataset in datasets]
    pictures = [picture for part in listings for _, listing in part for picture in listing.pictures]
    records = index.look(pictures, progress=progress)
    items: list[Item] = []
    subsets: list[Subset] = []
    for number, (dataset, part) in enumerate(zip(datasets, listings, strict=True)):
        check_options(dataset.buckets)
        for subset, listing in part:
            captions = _captions(subset, listing, gathered)
            if is_half_changed(subset.directory):
                gathered.problems.append(Problem(subset.directory, "only some of its captions are changed", _HALF_CHANGED))
            for picture in listing.pictures:
                record, caption = records[picture], captions[picture]
                if caption.problem or record.problem:
                    gathered.problems.extend([caption.problem] if caption.problem else [])
                    gathered.problems.extend([Problem(picture, record.problem, record.hint)] if record.problem else [])
                    continue
                try:
                    placement = _place(record.size, dataset.buckets)
                except UserError as error:
                    gathered.problems.append(Problem(picture, error.message, error.hint))
                    continue
                items.append(
                    Item(
                        picture, caption.text, caption.source, number, len(subsets), subset.repeats, subset.is_reg, record.size,
                        record.digest, placement, subset.options.flip_aug, subset.options.resize_interpolation, record.traits,
                    )
                )  # fmt: skip
            subsets.append(subset)
    gathered.notes.extend(index.notes)
    _note_traits(items, gathered.notes)
    used = tuple(replace(dataset, subsets=tuple(subset for subset, _ in part)) for dataset, part in zip(datasets, listings, strict=True))
    return Scan(used, tuple(subsets), tuple(items), tuple(gathered.notes), tuple(dict.fromkeys(gathered.problems)))


def require_usable(found: Scan) -> Scan:
    """The scan itself. Raises UserError that lists every file that cannot be trained on, or says that nothing is left to train on."""
    if found.problems:
        count = len({problem.file for problem in found.problems})
        lines = [f"  {problem.file}: {problem.message}; {problem.hint}" for problem in found.problems[:_LISTED]]
        if len(found.problems) > _LISTED:
            lines.append(f"  and {len(found.problems) - _LISTED} more")
        total = count + len({item.image for item in found.items})
        raise UserError(
            f"{count} of {total} files cannot be used:\n" + "\n".join(lines),
            "mend these files or take them out of the folder; `check` shows the same list",
        )
    for number, dataset in enumerate(found.datasets):
        if not any(item.dataset == number and not item.is_reg for item in found.items):
            where = ", ".join(str(subset.directory) for subset in dataset.subsets)
            raise UserError("there are only regularisation pictures, and nothing to train on", "add a folder without is_reg", where=where)
    return found


def tag_frequency(found: Scan) -> dict[str, dict[str, int]]:
    """How many pictures of each folder carry each tag, in the order of first appearance (what `ss_tag_frequency` records)."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for item in found.items:
        options = found.caption_options(item)
        line = next((line for line in item.caption.split("\n") if line.strip()), "")
        table[found.subsets[item.subset].directory.name].update(tag for part in split(line, options) for tag in part if tag)
    return {folder: dict(counts) for folder, counts in table.items()}


def trigger_words(found: Scan) -> dict[int, tuple[str, ...]]:
    """The words that call up what each training folder (index into `subsets`) teaches: what a person writes into a prompt.

    The tag that opens at least half of its captions; else the folder's text where that is a caption; else nothing.
    """
    words: dict[int, tuple[str, ...]] = {}
    for number, subset in enumerate(found.subsets):
        items = [item for item in found.items if item.subset == number]
        if subset.is_reg or not items:
            continue
        openings = Counter(
            _opening(item.caption, found.caption_options(item).caption_separator) for item in items if item.caption_source == "file"
        )
        best, count = max(openings.items(), key=lambda pair: pair[1], default=("", 0))
        if best and count * 2 >= len(items):
            words[number] = (best,)
        else:
            words[number] = (subset.class_tokens,) if any(item.caption_source == "folder" for item in items) else ()
    return words


def captions_from(subset: Subset, items: Sequence[Item]) -> str:
    """Where the captions of a folder's items come from, in words; with numbers where they come from several places.

    >>> captions_from(Subset(Path("1_cat")), ())
    'nowhere: there are no pictures'
    """
    counts = Counter(item.caption_source for item in items)
    names: dict[CaptionSource, str] = {
        "file": f"{subset.options.caption_extension} files",
        "folder": f"the folder's name, `{subset.class_tokens}`",
        "none": "nowhere: they are empty",
    }
    told = [names[source] if len(counts) == 1 else f"{names[source]} ({counts[source]})" for source in sorted(counts)]
    return " and ".join(told) or "nowhere: there are no pictures"


def _opening(caption: str, separator: str) -> str:
    """The first tag of a caption."""
    line = next((line for line in caption.split("\n") if line.strip()), "")
    return line.split(separator)[0].strip()


@lru_cache(maxsize=4096)
def _place(size: Size, options: BucketOptions) -> Placement:
    """`place`, remembered: a folder's pictures often have few different sizes."""
    return place(size, options)


def _listings(dataset: Dataset, notes: list[str]) -> list[tuple[Subset, Listing]]:
    """Each subset's pictures; a folder named twice in one data set counts once, as in sd-scripts."""
    listings: list[tuple[Subset, Listing]] = []
    seen: set[str] = set()
    for subset in dataset.subsets:
        if subset.repeats < 1:
            raise UserError(f"num_repeats is {subset.repeats}", "it must be 1 or more", where=str(subset.directory))
        path = os.path.abspath(require_folder(subset.directory, "image_dir"))
        if path in seen:
            notes.append(f"{subset.directory}: named twice in one data set; the later one is ignored")
            continue
        seen.add(path)
        listing = list_folder(subset.directory)
        if not listing.pictures:
            raise UserError("there are no pictures in this folder", "put pictures into it, or take it out of the settings", where=path)
        if listing.unread:
            notes.append(f"{subset.directory}: not read here, save them as PNG or JPEG: {_names(listing.unread)}")
        listings.append((subset, listing))
    return listings


def _captions(subset: Subset, listing: Listing, gathered: _Gathered) -> dict[Path, _Caption]:
    """Every picture's caption, and notes on where they came from."""
    extensions = endings(subset.options.caption_extension)
    files = {(os.path.splitext(name)[0], os.path.splitext(name)[1].lower()): name for name in sorted(listing.files)}
    own = caption_files(listing, subset.options.caption_extension)
    fallback = _Caption(subset.class_tokens, "folder" if subset.class_tokens else "none")

    def read(picture: Path) -> _Caption:
        name = own.get(picture.stem)
        return _read_caption(subset.directory / name) if name else fallback

    with ThreadPoolExecutor(8) as pool:
        captions = dict(zip(listing.pictures, pool.map(read, listing.pictures), strict=True))
    _note_captions(subset, captions, gathered.notes)
    _note_other_extension(subset, listing, extensions, files, captions, gathered.notes)
    stems = Counter(picture.stem for picture in listing.pictures)
    twins = [picture.name for picture in listing.pictures if stems[picture.stem] > 1]
    if twins:
        gathered.notes.append(f"{subset.directory}: pictures of the same name share one caption file: {_names(twins)}")
    return captions


def _read_caption(path: Path) -> _Caption:
    """A caption file's text; what is no text becomes a problem."""
    hint = "write the caption in a text editor and save it as UTF-8, or remove the file"
    try:
        raw = path.read_bytes() if path.stat().st_size <= _LARGEST_CAPTION else b"\0"
        text, encoding = encodings.decode(raw)
    except encodings.NotText as error:
        return _Caption("", "file", problem=Problem(path, f"this caption is not text: {error}", hint))
    except OSError as error:
        return _Caption("", "file", problem=Problem(path, f"this caption cannot be opened ({error.strerror})", "check its rights"))
    return _Caption(text, "file", "" if encoding == "utf-8" else encoding)


def _note_captions(subset: Subset, captions: dict[Path, _Caption], notes: list[str]) -> None:
    """Notes on missing captions, legacy encodings and lines that are not used."""
    without = [picture.name for picture, caption in captions.items() if caption.source != "file"]
    if without and len(without) < len(captions):
        instead = f"the folder's text `{subset.class_tokens}`" if subset.class_tokens else "an empty caption"
        notes.append(f"{subset.directory}: {len(without)} of {len(captions)} pictures have no caption and get {instead}: {_names(without)}")
    elif without and not subset.class_tokens:
        extension = " or ".join(endings(subset.options.caption_extension))
        notes.append(f"{subset.directory}: no picture has a {extension} file, and the folder's name gives no text: captions are empty")
    encodings_seen: dict[str, list[str]] = defaultdict(list)
    for picture, caption in captions.items():
        if caption.legacy:
            encodings_seen[caption.legacy].append(picture.name)
    for encoding, names in sorted(encodings_seen.items()):
        notes.append(
            f"{subset.directory}: captions not in UTF-8, read as {encoding}: {_names(names)}; "
            "look at one with `check`, and save them as UTF-8 if the text is wrong"
        )
    if not subset.options.captions.enable_wildcard:
        long = [picture.name for picture, caption in captions.items() if "\n" in caption.text.strip()]
        if long:
            notes.append(f"{subset.directory}: only the first line of these captions is used (enable_wildcard draws one): {_names(long)}")


def _note_other_extension(
    subset: Subset,
    listing: Listing,
    extensions: tuple[str, ...],
    files: dict[tuple[str, str], str],
    captions: dict[Path, _Caption],
    notes: list[str],
) -> None:
    """A note where pictures have `.caption` files beside or instead of `.txt` ones, or the other way round."""
    extension = extensions[0]
    other = {".txt": ".caption", ".caption": ".txt"}.get(extension)
    if other is None:
        return
    having = [picture for picture in listing.pictures if (picture.stem, other) in files]
    both = sum((picture.stem, extension) in files for picture in having)
    only = sum(captions[picture].source != "file" for picture in having)
    if both:
        notes.append(f"{subset.directory}: {both} pictures have both a {extension} and a {other} file; {extension} is used")
    if only:
        notes.append(
            f"{subset.directory}: {only} pictures have only a {other} file, which is not read; "
            f'set caption_extension = "{other}" to use it (sd-scripts\' own default is .caption)'
        )


def _note_traits(items: Sequence[Item], notes: list[str]) -> None:
    """Notes on animations and transparent pictures."""
    texts = {
        "animated": "are animations, of which the first frame is used",
        "alpha": "are partly transparent; alpha_background shows there",
    }
    for trait, text in texts.items():
        names = list(dict.fromkeys(item.image.name for item in items if trait in item.traits))
        if names:
            notes.append(f"{len(names)} pictures {text}: {_names(names)}")


def _names(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
