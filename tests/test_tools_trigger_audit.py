"""Triggers: where one stands, how many tokens it has, whether it is an ordinary tag, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.buckets import BucketOptions
from engine.data.folder import find
from engine.data.index import Index
from engine.data.items import Dataset
from engine.data.scan import require_usable, scan
from engine.errors import UserError
from engine.models.tokens import tokenizer
from engine.tools.captions import journal
from engine.tools.captions.rules import groups
from engine.tools.trigger_audit import audit, rare

Make = Callable[..., list[Path]]
BUCKETS = BucketOptions((64, 64), minimum=32, maximum=128, step=32)


def lines(root: Path) -> list[str]:
    with Index(None) as index:
        found = scan([Dataset(find(root).subsets, BUCKETS)], index)
    return list(audit(found, tokenizer().count, groups()))


def make(pictures: Make, folder: Path, *captions: str | None) -> None:
    for picture, caption in zip(pictures(folder, [(64, 64)] * len(captions)), captions, strict=True):
        if caption is not None:
            picture.with_suffix(".txt").write_text(caption, encoding="utf-8")


@pytest.mark.parametrize(
    ("folder", "captions", "said"),
    [
        ("4_momo creature", ["momo, sky", "Momo, grass"], ["`momo` stands in 2 of 2 captions, in front in 2; 1 token"]),
        ("4_momo creature", ["sky, momo", "grass, momo"], ["stands in 2 of 2 captions, in front in 0", 'captions front "momo" --train']),
        ("4_momo creature", ["1girl, sky", "1girl"], ["`momo` stands in 0 of 2 captions", 'captions add "momo" --front --train_data_dir']),
        ("4_x", ["zeppy, sky", "zeppy, sea", "sea"], ["`zeppy` stands in 2 of 3", 'captions add "zeppy" --front']),
        ("4_momo creature", [None, None], ["`momo creature` stands in 2 of 2 captions, in front in 2; 2 tokens"]),
        ("4_momo creature", [None, "momo, sky"], ["`momo` stands in 2 of 2 captions, in front in 2"]),
        ("4_Kamisato_Ayaka", ["kamisato ayaka, hat"] * 2, ["`kamisato ayaka` stands in 2 of 2"]),
        ("4_Kamisato_Ayaka", ["1girl"] * 2, ["`Kamisato_Ayaka` stands in 0 of 2", "captions add", "the `_` in `Kamisato_Ayaka` stays"]),
        ("4_sitting", ["sitting, hat"] * 2, ["`sitting` stands in 2 of 2", "is an ordinary tag", "identifiers of one token that"]),
        ("4_momo", ["a small momo sits on a chair in the garden.", "a chair in the garden of a house."], ["stands in 1 of 2", "add"]),
        ("7", [None, None], []),
    ],
)  # fmt: skip
def test_what_is_said_of_a_trigger(tmp_path: Path, pictures: Make, folder: str, captions: list[str | None], said: list[str]) -> None:
    make(pictures, tmp_path / folder, *captions)
    told = lines(tmp_path)
    assert len(told) == len(said), told
    assert all(part in line for part, line in zip(said, told, strict=True)), told


def test_regularisation_has_no_trigger(tmp_path: Path, pictures: Make) -> None:
    make(pictures, tmp_path / "train/4_momo", "momo")
    make(pictures, tmp_path / "reg/1_creature", None)
    with Index(None) as index:
        found = scan([Dataset(find(tmp_path / "train", tmp_path / "reg").subsets, BUCKETS)], index)
    assert len(audit(found, tokenizer().count, groups())) == 1


def test_the_identifiers_that_are_offered_have_one_token() -> None:
    offered = rare(tokenizer().count, groups())
    assert len(offered) >= 5 and tokenizer().count(offered) == [1] * len(offered)


def test_a_half_changed_folder_stops_a_run(tmp_path: Path, pictures: Make) -> None:
    make(pictures, tmp_path / "4_momo", "momo")
    entry = journal.entry_file(tmp_path / "4_momo", 1, ".pending")
    entry.parent.mkdir()
    entry.write_bytes(b"")
    with Index(None) as index:
        found = scan([Dataset(find(tmp_path).subsets, BUCKETS)], index)
        with pytest.raises(UserError, match="only some of its captions are changed"):
            require_usable(found)
