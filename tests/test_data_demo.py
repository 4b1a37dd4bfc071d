"""The demo's pictures: what the recipe draws, captioned with the trigger word first, and prompts that use its words."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageChops

from engine.data.buckets import BucketOptions
from engine.data.folder import find
from engine.data.index import Index
from engine.data.items import Dataset
from engine.data.scan import require_usable, scan, trigger_words
from engine.generation import promptfile
from engine.generation.samples import sampler_names
from recipes import demo_pictures


def test_the_pictures_are_what_the_recipe_draws(root: Path) -> None:
    folder = root / "train_data" / "demo" / demo_pictures.FOLDER
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{number + 1:02d}{suffix}" for number in range(demo_pictures.COUNT) for suffix in (".png", ".txt")
    )
    for number in range(demo_pictures.COUNT):
        kept = Image.open(folder / f"{number + 1:02d}.png").convert("RGB")
        assert ImageChops.difference(kept, demo_pictures.picture(number)).getbbox() is None, number
        assert (folder / f"{number + 1:02d}.txt").read_text(encoding="utf-8") == demo_pictures.caption(number) + "\n"


def test_the_engine_finds_one_concept_with_its_trigger(root: Path) -> None:
    found = find(root / "train_data" / "demo")
    with Index(None) as index:
        usable = require_usable(scan([Dataset(found.subsets, BucketOptions((64, 64), minimum=64))], index, notes=found.notes))
    assert usable.notes == () and {item.caption_source for item in usable.items} == {"file"}
    assert list(trigger_words(usable).values()) == [("momo",)]


def test_the_prompts_ask_for_the_concept_and_for_something_else(root: Path) -> None:
    prompts = promptfile.read(root / "train_data" / "demo" / "sample_prompts.txt", sampler_names())
    assert sum("momo" in prompt.text for prompt in prompts) >= 2 and any("momo" not in prompt.text for prompt in prompts)
