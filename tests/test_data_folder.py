"""The folder method: names, flat folders, regularisation, explicit subsets, captions and their sources, and what is refused."""

from __future__ import annotations

import doctest
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine.data import folder
from engine.data import scan as scan_module
from engine.data.buckets import BucketOptions
from engine.data.captions import CaptionOptions
from engine.data.folder import find, list_folder, parse_name
from engine.data.index import Index
from engine.data.items import Dataset, Scan, Subset, SubsetOptions
from engine.data.scan import require_usable, scan, tag_frequency, trigger_words
from engine.errors import UserError

BUCKETS = BucketOptions((64, 64), minimum=32, maximum=128, step=32)
Make = Callable[..., list[Path]]


def read(*subsets: Subset, notes: tuple[str, ...] = ()) -> Scan:
    with Index(None) as index:
        return scan([Dataset(subsets, BUCKETS)], index, notes=notes)


def read_folder(root: Path, options: SubsetOptions | None = None) -> Scan:
    found = find(root, options=options)
    return read(*found.subsets, notes=found.notes)


def test_doctests() -> None:
    assert doctest.testmod(folder).failed == doctest.testmod(scan_module).failed == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10_sks dog", (10, "sks dog")),
        ("3_my_char girl", (3, "my_char girl")),
        ("1_", (1, "")),
        ("0_off", (0, "off")),
        ("-1_x", (-1, "x")),
        ("5_猫 女孩", (5, "猫 女孩")),
        ("ten_dogs", None),
        ("dogs", None),
        ("1.5_dogs", None),
        ("_dogs", None),
    ],
)
def test_folder_names(name: str, expected: tuple[int, str] | None) -> None:
    assert parse_name(name) == expected


def test_concept_folders_sorted_one_level_and_others_named(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "2_b cat")
    pictures(tmp_path / "10_a_b dog")
    pictures(tmp_path / "10_a_b dog" / "5_inner")
    pictures(tmp_path / "misc")
    pictures(tmp_path / "0_off")
    (tmp_path / "3_empty").mkdir()
    pictures(tmp_path, [(64, 64)])
    found = find(tmp_path)
    assert [(subset.directory.name, subset.repeats, subset.class_tokens) for subset in found.subsets] == [
        ("10_a_b dog", 10, "a_b dog"),
        ("2_b cat", 2, "b cat"),
    ]
    notes = "\n".join(found.notes)
    assert "misc: skipped (2 pictures)" in notes and "`10_misc`" in notes
    assert "0_off: skipped" in notes and "3_empty: skipped" in notes and "1 picture beside the concept folders" in notes


def test_flat_folder_is_recognised(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "my dogs")
    found = find(tmp_path / "my dogs", repeats=7)
    assert [(subset.directory, subset.repeats, subset.class_tokens) for subset in found.subsets] == [(tmp_path / "my dogs", 7, "")]
    assert "flat folder" in found.notes[0] and "7 repeats" in found.notes[0]


def test_concept_folder_itself_is_recognised(tmp_path: Path, pictures: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "4_sks dog")
    monkeypatch.chdir(tmp_path / "4_sks dog")
    for root in (tmp_path / "4_sks dog", Path(".")):
        found = find(root)
        assert (found.subsets[0].repeats, found.subsets[0].class_tokens) == (4, "sks dog")
        assert "concept folder itself" in found.notes[0]


def test_regularisation_folders_parse_alike(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "train" / "5_sks dog")
    pictures(tmp_path / "reg" / "1_dog")
    found = find(tmp_path / "train", tmp_path / "reg")
    assert [(subset.class_tokens, subset.is_reg) for subset in found.subsets] == [("sks dog", False), ("dog", True)]


def test_nothing_found_says_what_was_looked_at(tmp_path: Path, pictures: Make) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "scan.tiff").write_bytes(b"x")
    with pytest.raises(UserError, match=r"kinds that are not read here, such as scan\.tiff") as caught:
        find(tmp_path)
    assert "10_sks dog" in caught.value.hint
    pictures(tmp_path / "dogs")
    with pytest.raises(UserError, match="`dogs` in it has 2 pictures") as caught:
        find(tmp_path)
    assert "10_dogs" in caught.value.hint


def test_missing_folder_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "train_data").mkdir()
    with pytest.raises(UserError, match="does not exist") as caught:
        find(tmp_path / "train_dta")
    assert "`train_data`" in caught.value.hint
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="names a file"):
        find(tmp_path / "file")


def test_repeats_below_one_are_refused(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path)
    with pytest.raises(UserError, match="dataset_repeats is 0"):
        find(tmp_path, repeats=0)
    with pytest.raises(UserError, match="num_repeats is 0"):
        read(Subset(tmp_path, repeats=0))


def test_extensions_in_any_case_and_hidden_files(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.Jpg", "c.jpeg", "d.webp", "e.BMP", "._a.png", ".hidden.png", "f.gif", "g.txt"):
        Image.new("RGB", (64, 64)).save(tmp_path / name, "PNG") if not name.endswith("txt") else (tmp_path / name).write_bytes(b"")
    listing = list_folder(tmp_path)
    assert [path.name for path in listing.pictures] == ["a.PNG", "b.Jpg", "c.jpeg", "d.webp", "e.BMP"]
    assert listing.unread == ("f.gif",)


def test_captions_come_from_files_then_folder_then_nowhere(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "5_sks dog", [(64, 64)] * 3)
    made[0].with_suffix(".txt").write_text("sks dog, grass\n", encoding="utf-8-sig")
    made[1].with_suffix(".txt").write_bytes(b"")
    result = read_folder(tmp_path)
    assert [(item.caption.strip(), item.caption_source) for item in result.items] == [
        ("sks dog, grass", "file"),
        ("", "file"),
        ("sks dog", "folder"),
    ]
    assert any("1 of 3 pictures have no caption and get the folder's text `sks dog`: 2.png" in note for note in result.notes)
    flat = read(Subset(tmp_path / "5_sks dog", options=SubsetOptions(caption_extension=".none")))
    assert {item.caption_source for item in flat.items} == {"none"}
    assert any("captions are empty" in note for note in flat.notes)


def test_legacy_encodings_are_read_with_a_warning(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "1_x", [(64, 64)] * 3)
    made[0].with_suffix(".txt").write_bytes("白い猫が座っている".encode("cp932"))
    made[1].with_suffix(".txt").write_bytes("一只白色的猫".encode("gbk"))
    made[2].with_suffix(".txt").write_bytes("猫".encode("utf-16"))
    result = read_folder(tmp_path)
    assert [item.caption for item in result.items] == ["白い猫が座っている", "一只白色的猫", "猫"]
    for encoding, name in (("cp932", "0.png"), ("gbk", "1.png"), ("utf-16", "2.png")):
        assert any(f"read as {encoding}: {name}" in note for note in result.notes)


def test_a_caption_that_is_no_text_is_a_problem(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "1_x")
    made[0].with_suffix(".txt").write_bytes(made[1].read_bytes())
    made[1].with_suffix(".txt").write_bytes(b"a" * 2_000_000)
    result = read_folder(tmp_path)
    assert [problem.file.name for problem in result.problems] == ["0.txt", "1.txt"]
    with pytest.raises(UserError, match="not text") as caught:
        require_usable(result)
    assert "2 of 2 files cannot be used" in str(caught.value)


def test_other_caption_extension_is_told_with_counts(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "1_x", [(64, 64)] * 3, caption="from txt")
    for picture in made:
        picture.with_suffix(".caption").write_text("from caption", encoding="utf-8")
    made[2].with_suffix(".txt").unlink()
    result = read_folder(tmp_path)
    notes = "\n".join(result.notes)
    assert "2 pictures have both a .txt and a .caption file; .txt is used" in notes
    assert '1 pictures have only a .caption file, which is not read; set caption_extension = ".caption"' in notes
    other = read_folder(tmp_path, SubsetOptions(caption_extension="caption"))
    assert {item.caption for item in other.items} == {"from caption"}
    assert "2 pictures have both a .caption and a .txt file; .caption is used" in "\n".join(other.notes)


def test_of_several_caption_extensions_the_first_that_a_picture_has_is_read(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "1_x", [(64, 64)] * 4, caption="from txt")
    for picture in made[1:]:
        picture.with_suffix(".caption").write_text("from caption", encoding="utf-8")
    made[2].with_suffix(".txt").unlink()
    for suffix in (".txt", ".caption"):
        made[3].with_suffix(suffix).unlink()
    result = read_folder(tmp_path, SubsetOptions(caption_extension=".caption,.txt"))
    assert [item.caption for item in result.items] == ["from txt", "from caption", "from caption", "x"]
    notes = "\n".join(result.notes)
    assert "1 pictures have both a .caption and a .txt file; .caption is used" in notes and "which is not read" not in notes
    nothing = read_folder(tmp_path, SubsetOptions(caption_extension=".a,.b"))
    assert {item.caption for item in nothing.items} == {"x"}


def test_twins_share_a_caption_with_a_warning(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "1_x", [(64, 64)], caption="both")
    Image.open(made[0]).save(tmp_path / "1_x" / "0.jpg")
    result = read_folder(tmp_path)
    assert [item.caption for item in result.items] == ["both", "both"]
    assert any("share one caption file: 0.jpg, 0.png" in note for note in result.notes)


def test_several_lines_are_told_unless_wildcards_draw_them(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "1_x", [(64, 64)], caption="a\nb")
    assert any("only the first line" in note for note in read_folder(tmp_path).notes)
    drawn = read_folder(tmp_path, SubsetOptions(CaptionOptions(enable_wildcard=True)))
    assert drawn.items[0].caption == "a\nb" and not any("first line" in note for note in drawn.notes)


def test_all_broken_pictures_are_listed(tmp_path: Path, pictures: Make) -> None:
    made = pictures(tmp_path / "1_x", [(64, 64), (96, 64), (64, 96)])
    made[0].write_bytes(made[0].read_bytes()[:-200])
    made[1].write_bytes(b"not a picture")
    Image.new("RGB", (20_000, 10)).save(tmp_path / "1_x" / "long.png")
    result = read_folder(tmp_path)
    assert [item.image.name for item in result.items] == ["2.png"]
    with pytest.raises(UserError) as caught:
        require_usable(result)
    text = str(caught.value)
    assert "3 of 4 files cannot be used" in text
    assert "0.png: it is cut short" in text and "1.png: it is no picture" in text and "long.png: 20000 x 10 pixels is too long" in text


def test_explicit_subsets_and_several_data_sets(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "any name", [(64, 64), (96, 32)])
    subset = Subset(tmp_path / "any name", 3, "my dog")
    with Index(None) as index:
        result = scan(
            [Dataset((subset, subset), BUCKETS, 2), Dataset((subset,), BucketOptions((128, 128), minimum=64, maximum=256), 1)], index
        )
    assert [(item.dataset, item.subset, item.placement.bucket) for item in result.items] == [
        (0, 0, (64, 64)), (0, 0, (96, 32)), (1, 1, (128, 128)), (1, 1, (192, 64)),
    ]  # fmt: skip
    assert result.batch_sizes == (2, 1) and any("named twice" in note for note in result.notes)
    assert len(result.datasets[0].subsets) == 1


def test_missing_or_empty_explicit_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(Subset(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no pictures in this folder"):
        read(Subset(tmp_path))


def test_only_regularisation_is_refused(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path)
    with pytest.raises(UserError, match="only regularisation"):
        require_usable(read(Subset(tmp_path, is_reg=True)))


def test_tags_and_trigger_words(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "2_sks dog", [(64, 64)] * 2, caption="sks dog, grass, sun")
    pictures(tmp_path / "1_my cat")
    pictures(tmp_path / "1_none", [(64, 64)], caption="")
    result = read_folder(tmp_path)
    assert tag_frequency(result) == {
        "1_my cat": {"my cat": 2},
        "1_none": {},
        "2_sks dog": {"sks dog": 2, "grass": 2, "sun": 2},
    }
    assert trigger_words(result) == {0: ("my cat",), 1: (), 2: ("sks dog",)}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps names as UTF-16")
def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode("照片.png".encode("gbk"))).write_bytes(b"")
    with pytest.raises(UserError, match="1 file names in this folder are no text"):
        find(tmp_path)


def test_a_folder_that_may_not_be_opened_is_told(tmp_path: Path, pictures: Make, as_user: Callable[..., object], root: Path) -> None:
    pictures(tmp_path / "1_x")
    (tmp_path / "1_x").chmod(0)
    code = "import sys; from pathlib import Path; from engine.data.folder import find; find(Path(sys.argv[1]))"
    done = as_user("-c", code, str(tmp_path))
    (tmp_path / "1_x").chmod(0o755)
    assert "1_x: this folder cannot be opened (Permission denied)" in getattr(done, "stderr", "")


def test_newer_formats_are_read_where_pillow_can(tmp_path: Path) -> None:
    if ".avif" not in folder.picture_extensions():
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (64, 48)).save(tmp_path / "a.avif")
    assert [item.size for item in read(Subset(tmp_path)).items] == [(64, 48)]


def test_folders_in_odd_places(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "圖 片" / "2_猫 女孩", caption="猫")
    assert [item.caption for item in read_folder(tmp_path / "圖 片").items] == ["猫", "猫"]
