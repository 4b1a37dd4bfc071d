"""Where `sample` writes: pictures by their content, pages that are claimed, folders that refuse. Without a model."""

from __future__ import annotations

import doctest
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from engine.errors import UserError
from engine.generation import compare
from engine.generation.compare import Page, claim, distinct, labels, place
from engine.generation.page import Row
from engine.generation.prompt import Shot

SHOT = Shot("a cat", "", 64, 64, 7, 2, 3.0, "euler", False, 1.0)


def test_examples() -> None:
    assert doctest.testmod(compare).failed == 0


def test_a_picture_is_named_by_its_content_and_passes_others_by(tmp_path: Path) -> None:
    page = Page(tmp_path, [SHOT])
    one, other = page.keep("x", "00_7", b"one"), page.keep("x", "00_7", b"other")
    assert one.name == "x_00_7_7692c3ad.png" and one.parent == tmp_path / "compare" and other != one
    assert page.keep("x", "00_7", b"one") == one
    one.write_bytes(b"edited by hand")
    again = page.keep("x", "00_7", b"one")
    assert (again.name, again.read_bytes(), one.read_bytes()) == ("x_00_7_7692c3ad_2.png", b"one", b"edited by hand")
    assert page.keep("x", "00_7", b"one") == again and len(list((tmp_path / "compare").iterdir())) == 3


@pytest.mark.parametrize("stem", ["x" * 243, "我" * 81, "a" + "😀" * 60])
def test_the_longest_names_of_files_can_be_used(tmp_path: Path, stem: str) -> None:
    (tmp_path / f"{stem}.safetensors").touch()
    made = Page(tmp_path, [SHOT]).keep(stem, f"00_{2**64 - 1}", b"picture")
    assert stem.startswith(made.name.partition("_")[0]) and made.read_bytes() == b"picture"


def test_a_page_is_written_row_by_row_and_never_over_another(tmp_path: Path) -> None:
    (tmp_path / "compare.html").write_text("somebody's", encoding="utf-8")
    one, other = Page(tmp_path, [SHOT]), Page(tmp_path, [SHOT])
    assert not (tmp_path / "compare_2.html").exists()
    for number in (1, 2):
        for page, name in ((one, "compare_2.html"), (other, "compare_3.html")):
            path = page.add(Row(f"{name} row {number}", 9 - number, None, None, False), [tmp_path / "compare" / f"{number}.png"])
            text = path.read_text(encoding="utf-8")
            assert path == tmp_path / name and text.count("<tr data-row") == number
            assert text.count('src="compare/') == number
    assert text.index("row 1") < text.index("row 2")  # in the order of the calls, not of the steps
    assert (tmp_path / "compare.html").read_text(encoding="utf-8") == "somebody's"


def test_pages_claimed_at_once_are_all_different(tmp_path: Path) -> None:
    callers = 16
    together = Barrier(callers)

    def call(number: int) -> Path:
        together.wait()
        return claim(tmp_path, str(number))

    with ThreadPoolExecutor(callers) as pool:
        pages = list(pool.map(call, range(callers)))
    assert [page.read_text(encoding="utf-8") for page in pages] == [str(number) for number in range(callers)]
    assert sorted(page.name for page in pages) == sorted(["compare.html", *(f"compare_{n}.html" for n in range(2, callers + 1))])
    assert len(list(tmp_path.iterdir())) == callers


def test_a_claim_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, text: str) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(compare.files, "write_text", full)
    with pytest.raises(UserError):
        claim(tmp_path, "text")
    assert not list(tmp_path.iterdir())


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wanted, else beside the LoRA, else the fallback, which is said; always absolute."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    lora, fallback = Path("run/x.safetensors"), Path("output/sample")
    absolute = tmp_path / fallback
    assert place(Path("out"), lora, fallback) == (tmp_path / "out", "")
    assert place(None, lora, fallback) == (tmp_path / "run", "") and not list((tmp_path / "run").iterdir())
    assert not absolute.exists()
    assert place(None, None, fallback) == (absolute, f"no LoRA is named; the pictures go to {absolute}")
    (tmp_path / "run" / "compare").touch()
    told = f"{tmp_path / 'run' / 'compare'}: this is a file, and a folder is needed; the pictures go to {absolute}"
    assert place(None, lora, fallback) == (absolute, told)
    for wanted, beside, where in ((Path("file"), None, "file"), (None, None, "file"), (Path("run"), lora, f"run{os.sep}compare")):
        with pytest.raises(UserError, match="a folder is needed") as caught:
            place(wanted, beside, Path("file"))
        assert (caught.value.where, caught.value.hint) == (str(tmp_path / where), "name another folder with --out")


def test_a_name_too_long_for_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        place(tmp_path / ("x" * 300), None, tmp_path)
    assert caught.value.hint == "name another folder with --out"
    assert place(None, tmp_path / ("x" * 300) / "y.safetensors", tmp_path / "z")[0] == tmp_path / "z"


def test_a_file_named_again_is_told_from_one_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.safetensors").touch()
    first, other, again = Path("a/x.safetensors"), Path("b/x.safetensors"), tmp_path / "b" / ".." / "a" / "x.safetensors"
    assert distinct([first, other, again, first]) == ([first, other], [again, first])
    assert labels([first, other]) == ("a/x", "b/x") and labels([first]) == ("x",) and labels([]) == ()


@pytest.mark.skipif(os.name == "nt", reason="a path of Linux")
def test_a_label_may_need_the_whole_path() -> None:
    assert labels([Path("/x.safetensors"), Path("/no/x.safetensors"), Path("/no/no/x.safetensors")]) == ("/x", "/no/x", "no/no/x")
