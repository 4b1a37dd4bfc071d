"""`check`: its numbers, its remarks, its text and its contact sheet."""

from __future__ import annotations

import base64
import doctest
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from engine.data.buckets import BucketOptions
from engine.data.captions import CaptionOptions
from engine.data.folder import find
from engine.data.index import Index
from engine.data.items import Dataset, Scan, Subset, SubsetOptions
from engine.data.scan import scan
from engine.tools import check, contact_sheet, dataset_report
from engine.tools.dataset_report import RunShape, examine

Make = Callable[..., list[Path]]
BUCKETS = BucketOptions((64, 64), minimum=32, maximum=128, step=32)


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.fixture
def root_folder(tmp_path: Path, pictures: Make) -> Path:
    """Two concepts and a regularisation folder, with one of each oddity."""
    train = tmp_path / "pics <b>"
    made = pictures(train / "4_sks dog", [(64, 64), (96, 32), (20, 20), (64, 64)], caption="sks dog, grass, <i>sun</i>")
    made[3].write_bytes(made[0].read_bytes())
    made[1].with_suffix(".txt").write_text("sks dog, " + "word " * 90, encoding="utf-8")
    pictures(train / "1_cat", [(70, 60)])
    pictures(tmp_path / "reg" / "1_animal", [(64, 64)] * 3)
    return tmp_path


def read(folder: Path, index: Index, batch: int = 2) -> Scan:
    found = find(folder / "pics <b>", folder / "reg", options=SubsetOptions(CaptionOptions(shuffle_caption=True)))
    return scan([Dataset(found.subsets, BUCKETS, batch)], index, notes=found.notes)


def test_doctests() -> None:
    assert doctest.testmod(dataset_report).failed == 0


def test_numbers(root_folder: Path) -> None:
    with Index(None) as index:
        report = examine(read(root_folder, index), words, RunShape(epochs=3, accumulation=2))
    cat, dog, reg = report.folders
    assert [(folder.pictures, folder.samples) for folder in report.folders] == [(1, 1), (4, 16), (3, 17)]
    assert report.samples_per_epoch == 34 and sum(bucket.samples for bucket in report.buckets) == 34
    batches = sum(bucket.batches for bucket in report.buckets)
    assert report.steps_per_epoch == -(-batches // 2) and report.steps == 3 * report.steps_per_epoch and report.epochs == 3
    assert abs(sum(folder.share for folder in report.folders) - 1) < 1e-9
    assert (dog.trigger, cat.trigger, reg.trigger) == (("sks dog",), ("cat",), ())
    assert (dog.captions, cat.captions, dog.varying) == (".txt files", "the folder's name, `cat`", 4)


def test_length_from_steps(root_folder: Path) -> None:
    with Index(None) as index:
        report = examine(read(root_folder, index), words, RunShape(steps=100))
    assert report.steps == 100 and report.epochs == -(-100 // report.steps_per_epoch)


def test_odd_pictures_are_remarked(root_folder: Path) -> None:
    with Index(None) as index:
        report = examine(read(root_folder, index), words, RunShape())
    kinds = {(picture.item.image.parent.name, picture.item.image.name): [r.kind for r in picture.remarks] for picture in report.pictures}
    assert kinds["4_sks dog", "1.png"] == ["long"]
    assert kinds["4_sks dog", "2.png"] == ["small"]
    assert kinds["4_sks dog", "3.png"] == ["copy"]
    assert kinds["1_cat", "0.png"] == []
    text = "\n".join(report.remarks)
    assert "1 picture enlarged more than 1.5 times" in text and "1 picture with a caption longer than 75 tokens" in text
    assert "4_sks dog/3.png" in text and "`4_sks dog` is seen 16.0 times as often as `1_cat`" in text


def test_one_folder_in_two_data_sets_is_no_copy(tmp_path: Path, pictures: Make) -> None:
    pictures(tmp_path / "x")
    subset = Subset(tmp_path / "x")
    with Index(None) as index:
        found = scan([Dataset((subset,), BUCKETS), Dataset((subset,), BucketOptions((128, 128), minimum=64, maximum=256))], index)
        report = examine(found, words, RunShape())
    assert not any(remark.kind == "copy" for picture in report.pictures for remark in picture.remarks)
    text = check.text(report)
    assert "x (data set 1)" in text and "x (data set 2)" in text


def test_text_says_it_all(root_folder: Path) -> None:
    (root_folder / "pics <b>" / "1_cat" / "bad.png").write_bytes(b"x")
    with Index(None) as index:
        text = check.text(examine(read(root_folder, index), words, RunShape(epochs=2)))
    for part in ("4_sks dog", "1_animal (regularisation)", "64 x 64", "2 epochs", "92 at most", "bad.png: it is no picture"):
        assert part in text
    assert max(map(len, text.splitlines())) < 300


def test_a_set_without_a_sound_picture_still_gives_a_report(tmp_path: Path) -> None:
    (tmp_path / "1_x").mkdir()
    (tmp_path / "1_x" / "bad.png").write_bytes(b"x")
    with Index(None) as index:
        report = examine(scan([Dataset(find(tmp_path).subsets, BUCKETS)], index), words, RunShape())
    assert report.steps == 0 and "bad.png" in check.text(report) and "No captions" in check.text(report)


class Page(HTMLParser):
    """Checks that tags match, and collects pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_contact_sheet_shows_every_crop(root_folder: Path) -> None:
    target = root_folder / "out" / "check.html"
    with Index(None) as index:
        report = examine(read(root_folder, index), words, RunShape())
        contact_sheet.write(report, index, target)
    html = target.read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert page.open == [] and len(page.images) == 8
    assert "<i>sun" not in html and "&lt;i&gt;sun" in html
    assert not re.search(r"https?://", html), "the page works offline"
    wide = next(image for image in page.images if "width:117.188%" in (image["style"] or ""))
    assert "left:-7.812%" in (wide["style"] or ""), "75 pixels wide, of which 64 are kept from the fifth on"
    data = base64.b64decode((page.images[0]["src"] or "").partition("base64,")[2])
    (root_folder / "thumb.jpg").write_bytes(data)
    with Image.open(root_folder / "thumb.jpg") as image:
        assert image.size == (70, 60)


def test_check_needs_no_torch(root_folder: Path, root: Path) -> None:
    code = (
        "import sys; from engine.__main__ import main; "
        "status = main(['check', '--train_data_dir', sys.argv[1], '--cache_dir', sys.argv[2], '--output_dir', sys.argv[3]]); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(status)"
    )
    folders = [str(root_folder / "pics <b>"), str(root_folder / "ca che"), str(root_folder / "out 圖")]
    done = subprocess.run([sys.executable, "-c", code, *folders], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4_sks dog" in done.stdout and "check.html" in done.stdout
    assert (root_folder / "out 圖" / "check.html").is_file()
