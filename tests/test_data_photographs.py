"""The photographs that tests train on: small, captioned, of several concepts and shapes, with their origin written down."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from engine.data.buckets import BucketOptions
from engine.data.folder import find
from engine.data.index import Index
from engine.data.items import Dataset, Scan
from engine.data.scan import require_usable, scan, trigger_words
from recipes.photographs import CROPS


def read(root: Path) -> Scan:
    found = find(root / "tests" / "data" / "photographs")
    buckets = BucketOptions((128, 128), minimum=64, maximum=256, step=32)
    with Index(None) as index:
        return require_usable(scan([Dataset(found.subsets, buckets)], index, notes=found.notes))


def test_every_picture_is_sound_and_captioned(root: Path) -> None:
    found = read(root)
    assert found.notes == () and {item.caption_source for item in found.items} == {"file"}
    assert len({item.digest for item in found.items}) == len(found.items)
    assert all(128 < max(item.size) <= 512 for item in found.items)
    assert all(item.caption.startswith(found.subsets[item.subset].class_tokens + ", ") for item in found.items)
    assert list(trigger_words(found).values()) == [(subset.class_tokens,) for subset in found.subsets]


def test_several_concepts_in_several_shapes(root: Path) -> None:
    found = read(root)
    shapes = defaultdict(set)
    for item in found.items:
        shapes[item.subset].add(item.placement.bucket)
    assert len(found.subsets) >= 2 and all(len(buckets) >= 2 for buckets in shapes.values())
    assert len({item.placement.bucket for item in found.items}) >= 3


def test_the_set_is_what_the_recipe_makes_and_stays_small(root: Path) -> None:
    folder = root / "tests" / "data" / "photographs"
    made = {f"{photograph.folder}/{crop.name}": crop.caption for photograph, crops in CROPS.items() for crop in crops}
    present = {path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.suffix != ".txt"}
    assert present == made.keys()
    for name, caption in made.items():
        assert (folder / name).with_suffix(".txt").read_text(encoding="utf-8") == caption + "\n"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_500_000


def test_origin_and_licence_are_told_for_every_folder(root: Path) -> None:
    sources = (root / "tests" / "data" / "photographs" / "SOURCES.md").read_text(encoding="utf-8")
    for photograph in CROPS:
        assert f"`{photograph.folder}`" in sources and f"`{photograph.file}`" in sources
