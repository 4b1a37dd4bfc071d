"""Caches: made once, shared by content, resumed after an interruption, mended where damaged, bounded in memory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from engine.data import entries
from engine.data.buckets import BucketOptions, place
from engine.data.cache import LatentCache, TextCache
from engine.data.entries import Damaged, Memory
from engine.data.images import Changed
from engine.data.index import Index
from engine.data.items import Item
from engine.errors import UserError

Make = Callable[..., list[Path]]
SIZES = [(64, 64), (96, 32), (64, 64), (32, 96), (96, 32)]


class Vae:
    """Averages 8 x 8 pixels; remembers what it was given."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.stop_after = stop_after

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.shapes) == self.stop_after:
            raise KeyboardInterrupt
        self.shapes.append(tuple(pixels.shape))
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return mean, mean.abs() + 0.25

    @property
    def count(self) -> int:
        return sum(shape[0] for shape in self.shapes)


class TextEncoder:
    """Lengths and letters as tensors; remembers what it was given."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.seen: list[list[str]] = []
        self.stop_after = stop_after

    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        if len(self.seen) == self.stop_after:
            raise KeyboardInterrupt
        self.seen.append(captions)
        hidden = torch.tensor([[[len(text) + width / 8] * 4 for width in range(3)] for text in captions])
        return {"hidden": hidden, "ids": torch.tensor([[len(text), 7] for text in captions])}

    @property
    def count(self) -> int:
        return sum(map(len, self.seen))


@pytest.fixture
def items(tmp_path: Path, pictures: Make) -> list[Item]:
    made = pictures(tmp_path / "pics", SIZES)
    options = BucketOptions((64, 64), minimum=32, maximum=128, step=32)
    with Index(None) as index:
        records = index.look(made)
    return [
        Item(path, "", "none", 0, 0, 1, False, records[path].size, records[path].digest, place(records[path].size, options), False, "")
        for path in made
    ]


def entry_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def latent_cache(folder: Path | None, **options: int) -> LatentCache:
    return LatentCache(folder, "vae 1", torch.float32, **options)


def test_latents_are_made_once_in_bucket_batches(tmp_path: Path, items: list[Item]) -> None:
    cache, vae = latent_cache(tmp_path / "c"), Vae()
    told: list[tuple[int, int]] = []
    report = cache.ensure(items, vae, batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert (report.found, report.made, report.damaged) == (0, 5, ())
    assert sorted(vae.shapes) == [(1, 3, 96, 32), (2, 3, 32, 96), (2, 3, 64, 64)]
    assert told[0] == (0, 5) and told[-1] == (5, 5)
    again = Vae()
    assert latent_cache(tmp_path / "c").ensure(items, again).found == 5 and again.count == 0
    for item in items:
        mean, std = cache.get(item)
        assert mean.shape == (3, item.placement.bucket[1] // 8, item.placement.bucket[0] // 8)
        torch.testing.assert_close(std, mean.abs() + 0.25)
        for other in (latent_cache(tmp_path / "c"), latent_cache(tmp_path / "c", memory=0)):
            assert torch.equal(other.get(item)[0], mean)


def test_flip_has_latents_of_its_own(tmp_path: Path, items: list[Item]) -> None:
    flipped = [replace(item, flip_aug=True) for item in items[:2]]
    cache = latent_cache(tmp_path / "c")
    assert cache.ensure(flipped, Vae()).made == 4
    for item in flipped:
        torch.testing.assert_close(cache.get(item, True)[0], cache.get(item, False)[0].flip(-1))


def test_key_is_content_and_placement_not_the_name(tmp_path: Path, items: list[Item]) -> None:
    cache = latent_cache(tmp_path / "c")
    cache.ensure(items, Vae())
    moved = replace(items[0], image=items[0].image.rename(tmp_path / "moved.png"))
    assert cache.ensure([moved], Vae()).made == 0
    other_crop = replace(moved, placement=replace(moved.placement, bucket=(32, 32)))
    assert cache.ensure([other_crop], Vae()).made == 1
    other = tmp_path / "other.png"
    other.write_bytes(moved.image.read_bytes() + b"behind the picture")
    assert cache.ensure([replace(moved, image=other, digest=hashlib.sha256(other.read_bytes()).hexdigest())], Vae()).made == 1
    for cache in (
        LatentCache(tmp_path / "c", "vae 2", torch.float32),
        LatentCache(tmp_path / "c", "vae 1", torch.float16),
        LatentCache(tmp_path / "c", "vae 1", torch.float32, background="#000000"),
    ):
        assert cache.ensure([moved], Vae()).made == 1
    half = LatentCache(tmp_path / "c", "vae 1", torch.float16)
    assert half.get(moved)[0].dtype == torch.float16


def test_interrupted_caching_resumes(tmp_path: Path, items: list[Item]) -> None:
    with pytest.raises(KeyboardInterrupt):
        latent_cache(tmp_path / "c").ensure(items, Vae(stop_after=3))
    assert len(entry_files(tmp_path / "c")) == 3
    vae = Vae()
    report = latent_cache(tmp_path / "c").ensure(items, vae)
    assert (report.found, report.made, vae.count) == (3, 2, 2)


@pytest.mark.parametrize("harm", ["flip a bit", "cut", "empty", "garbage"])
def test_damaged_entries_are_found_and_made_again(tmp_path: Path, items: list[Item], harm: str) -> None:
    latent_cache(tmp_path / "c").ensure(items, Vae())
    broken = entry_files(tmp_path / "c")[2]
    raw = bytearray(broken.read_bytes())
    raw[-5] ^= 4
    broken.write_bytes({"flip a bit": bytes(raw), "cut": bytes(raw[:-9]), "empty": b"", "garbage": b"x" * 900}[harm])
    vae = Vae()
    report = latent_cache(tmp_path / "c").ensure(items, vae)
    assert (report.made, report.damaged, vae.count) == (1, (broken,), 1)
    assert latent_cache(tmp_path / "c").ensure(items, Vae()).made == 0


@pytest.mark.parametrize("flip", [False, True])
def test_an_entry_copied_over_another_is_not_taken_for_it(tmp_path: Path, items: list[Item], flip: bool) -> None:
    """Any picture's entry in any other's place: of its own bucket, of another, or of its own mirror image."""
    items = [replace(item, flip_aug=True) for item in items]
    cache = latent_cache(tmp_path / "c", memory=0)
    cache.ensure(items, Vae())
    wanted = {(number, way): cache.get(items[number], way) for number in range(5) for way in (False, True)}
    paths = {path.stem: path for path in entry_files(tmp_path / "c")}
    target = paths[cache.key(items[0], flip)]
    for other in [path for path in paths.values() if path != target]:
        shutil.copyfile(other, target)
        with pytest.raises(UserError, match="lost or damaged during the run"):
            cache.get(items[0], flip)
        shutil.copyfile(other, target)
        vae = Vae()
        report = latent_cache(tmp_path / "c").ensure(items, vae)
        assert (report.made, report.damaged, vae.count) == (1, (target,), 1)
        for (number, way), (mean, std) in wanted.items():
            again = latent_cache(tmp_path / "c").get(items[number], way)
            assert torch.equal(again[0], mean) and torch.equal(again[1], std)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_picture_that_changed_is_neither_encoded_nor_written(tmp_path: Path, items: list[Item], place: int, on_disk: bool) -> None:
    """Whichever picture it is, and however the run keeps its latents: what is kept belongs to the content that was looked at."""
    items = [replace(item, flip_aug=place % 2 == 0) for item in items]
    changed = items[place]
    before = changed.image.read_bytes()
    Image.new("RGB", changed.size, "red").save(changed.image)
    cache, vae = latent_cache(tmp_path / "c" if on_disk else None), Vae()
    with pytest.raises(Changed, match="changed after it was looked at") as caught:
        cache.ensure(items, vae)
    assert caught.value.image == changed.image and "start again" in caught.value.hint
    keys = {cache.key(changed, flip) for flip in (False, True)}
    assert not keys & {path.stem for path in entry_files(tmp_path / "c")}
    with pytest.raises((KeyError, UserError)):
        cache.get(changed)
    changed.image.write_bytes(before)
    ready = latent_cache(tmp_path / "c").ensure(items, Vae()).found if on_disk else cache.ensure(items, Vae()).found
    assert ready == vae.count, "what was encoded stays"
    fresh = latent_cache(None)
    fresh.ensure(items, Vae())
    for item in items:
        assert torch.equal((latent_cache(tmp_path / "c") if on_disk else cache).get(item)[0], fresh.get(item)[0])


def test_a_picture_that_changes_while_others_are_encoded(tmp_path: Path, items: list[Item]) -> None:
    last = max(items, key=lambda item: item.placement.bucket)

    class Slow(Vae):
        def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
            if not self.shapes:
                Image.new("RGB", last.size, "red").save(last.image)
            return super().__call__(pixels)

    many = [replace(item, interpolation=name) for name in ("lanczos", "box", "bicubic") for item in items]
    vae = Slow()
    with pytest.raises(Changed):
        latent_cache(tmp_path / "c").ensure(many, vae)
    assert 0 < vae.count == len(entry_files(tmp_path / "c"))


def test_damage_during_the_run_is_told(tmp_path: Path, items: list[Item]) -> None:
    cache = latent_cache(tmp_path / "c", memory=0)
    cache.ensure(items, Vae())
    path = next(path for path in entry_files(tmp_path / "c") if path.stem == cache.key(items[0], False))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"0\.png were lost or damaged during the run"):
        cache.get(items[0])
    assert not path.exists()


def test_memory_only_writes_nothing(tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    cache = latent_cache(None, memory=0)
    assert cache.ensure(items, Vae()).made == 5 and cache.ensure(items, Vae()).found == 5
    assert sorted(tmp_path.rglob("*")) == before
    assert cache.get(items[4])[0].shape == (3, 4, 12)


def test_latents_that_are_no_numbers_name_the_picture(tmp_path: Path, items: list[Item]) -> None:
    def nan_vae(pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        mean[-1, 0, 0, 0] = float("nan")
        return mean, mean

    with pytest.raises(UserError, match="not numbers") as caught:
        latent_cache(tmp_path / "c").ensure(items[:1], nan_vae)
    assert caught.value.where == str(items[0].image) and "no_half_vae" in caught.value.hint


def test_a_picture_that_vanished_is_named(tmp_path: Path, items: list[Item]) -> None:
    os.remove(items[1].image)
    with pytest.raises(UserError) as caught:
        latent_cache(tmp_path / "c").ensure(items, Vae())
    assert str(items[1].image) in str(caught.value)


def test_a_full_disk_is_told(small_disk: Path, items: list[Item]) -> None:
    (small_disk / "filler").write_bytes(b"x" * ((1 << 20) - 8192))
    with pytest.raises(UserError, match="disk is full"):
        latent_cache(small_disk / "c").ensure(items, Vae())


def text_cache(folder: Path | None, **options: int) -> TextCache:
    return TextCache(folder, "encoder 1", torch.float16, **options)


CAPTIONS = [f"caption {'x' * number} 猫" for number in range(150)]


def test_texts_are_encoded_once_and_stacked(tmp_path: Path) -> None:
    cache, encoder = text_cache(tmp_path), TextEncoder()
    told: list[tuple[int, int]] = []
    report = cache.ensure([*CAPTIONS, *CAPTIONS, ""], encoder, batch_size=20, progress=lambda done, total: told.append((done, total)))
    assert (report.found, report.made) == (0, 151) and encoder.count == 151
    assert max(map(len, encoder.seen)) == 20 and told[-1] == (151, 151)
    assert len(entry_files(tmp_path)) == 3
    for reader in (cache, text_cache(tmp_path, memory=0)):
        assert reader.ensure([*CAPTIONS, ""], encoder).made == 0
        got = reader.get([CAPTIONS[3], "", CAPTIONS[3]])
        assert got["hidden"].shape == (3, 3, 4) and got["hidden"].dtype == torch.float16
        assert got["ids"].tolist() == [[len(CAPTIONS[3]), 7], [0, 7], [len(CAPTIONS[3]), 7]] and got["ids"].dtype == torch.int64
    assert encoder.count == 151


def test_only_new_texts_are_encoded(tmp_path: Path) -> None:
    text_cache(tmp_path).ensure(CAPTIONS[:10], TextEncoder())
    encoder = TextEncoder()
    report = text_cache(tmp_path).ensure(CAPTIONS[5:12], encoder)
    assert (report.found, report.made) == (5, 2) and encoder.seen == [CAPTIONS[10:12]]


@pytest.mark.parametrize("options", [{"clip_skip": 2}, {"max_token_length": 150}])
def test_text_of_other_settings_is_apart(tmp_path: Path, options: dict[str, int]) -> None:
    text_cache(tmp_path).ensure(CAPTIONS[:3], TextEncoder())
    assert text_cache(tmp_path, **options).ensure(CAPTIONS[:3], TextEncoder()).made == 3
    assert TextCache(tmp_path, "encoder 2", torch.float16).ensure(CAPTIONS[:3], TextEncoder()).made == 3
    assert TextCache(tmp_path, "encoder 1", torch.float32).ensure(CAPTIONS[:3], TextEncoder()).made == 3


def test_interrupted_text_encoding_resumes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        text_cache(tmp_path).ensure(CAPTIONS, TextEncoder(stop_after=3), batch_size=32)
    report = text_cache(tmp_path).ensure(CAPTIONS, TextEncoder(), batch_size=32)
    assert (report.found, report.made) == (64, 86)


def test_a_damaged_text_file_is_made_again(tmp_path: Path) -> None:
    text_cache(tmp_path).ensure(CAPTIONS[:100], TextEncoder())
    broken = entry_files(tmp_path)[0]
    raw = bytearray(broken.read_bytes())
    raw[-1] ^= 1
    broken.write_bytes(bytes(raw))
    cache = text_cache(tmp_path)
    report = cache.ensure(CAPTIONS[:100], TextEncoder())
    assert report.damaged == (broken,) and report.made in (36, 64)
    assert cache.get(CAPTIONS[:100])["ids"][:, 0].tolist() == [len(text) for text in CAPTIONS[:100]]


def test_a_text_file_copied_over_another_is_not_taken_for_it(tmp_path: Path) -> None:
    cache = text_cache(tmp_path, memory=0)
    cache.ensure(CAPTIONS, TextEncoder())
    files = entry_files(tmp_path)
    assert len(files) == 3
    for target in files:
        for other in [path for path in files if path != target]:
            lost = len(entries.groups_in(target))
            shutil.copyfile(other, target)
            with pytest.raises(UserError, match="lost or damaged during the run"):
                cache.get(CAPTIONS)
            shutil.copyfile(other, target)
            cache, encoder = text_cache(tmp_path, memory=0), TextEncoder()
            report = cache.ensure(CAPTIONS, encoder)
            assert (report.made, report.damaged, encoder.count) == (lost, (target,), lost)
            assert cache.get(CAPTIONS)["ids"][:, 0].tolist() == [len(text) for text in CAPTIONS]


def test_text_that_is_no_number_names_the_caption(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for the caption `a cat`"):
        text_cache(tmp_path).ensure(["a cat"], lambda captions: {"hidden": torch.full((1, 2), float("inf"))})


def test_texts_in_memory_only(tmp_path: Path) -> None:
    cache = text_cache(None)
    assert cache.ensure(CAPTIONS[:5], TextEncoder()).made == 5
    assert cache.get(CAPTIONS[:1])["hidden"].shape == (1, 3, 4)
    with pytest.raises(KeyError, match="not asked for"):
        cache.get(["another"])


def test_memory_drops_the_least_recently_used() -> None:
    memory = Memory(limit=100)
    for name in "abc":
        memory.put(name, {"x": torch.zeros(10)})
        memory.get("a")
    assert memory.get("a") is not None and memory.get("b") is None and memory.get("c") is not None
    assert memory.size == 80
    memory.put("a", {"x": torch.zeros(5)})
    assert memory.size == 60


def test_entries_know_their_dtype_and_shape(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3), "b": torch.tensor(3)}
    assert entries.checksum(tensors) != entries.checksum({**tensors, "a": tensors["a"].reshape(3, 2)})
    entries.write(
        tmp_path / "e.safetensors", {"one": tensors, "two": {name: tensor.clone() for name, tensor in tensors.items()}}, {"k": "v"}
    )
    assert sorted(entries.groups_in(tmp_path / "e.safetensors")) == ["one", "two"]
    assert list(entries.read(tmp_path / "e.safetensors", "two")) == ["two"]
    with pytest.raises(Damaged, match="`three` is missing"):
        entries.read(tmp_path / "e.safetensors", "three")
