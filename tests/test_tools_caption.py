"""`caption`: which pictures, what is written, what is continued, where captioners come from, and every way in which it cannot."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import captioners_fakes as fakes
import pytest
from file_server import Site, serving
from PIL import Image
from rich.console import Console

from engine import __main__ as command
from engine import captioners
from engine.console import Reporter
from engine.errors import UserError
from engine.tools.caption import command as work
from engine.tools.caption import model
from engine.tools.caption.options import Options
from engine.tools.captions import journal, undo
from engine.tools.labelling import captions

COLORS = {"a.png": "red", "b.png": "green", "c.png": "blue"}


@dataclass
class Namer:
    """Says which colour a picture has, and counts what is held for it."""

    seeds: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    held: int = 0
    most: int = 0
    silent: str = ""  # nothing is said of this colour
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, picture: Image.Image) -> str:
        with self._lock:
            self.held += 1
            self.most = max(self.most, self.held)
        pixel = picture.getpixel((0, 0))
        return next(name for name, value in {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255)}.items() if value == pixel)

    def describe(self, pictures: Sequence[str], seeds: Sequence[int]) -> list[str]:
        self.seeds.extend(seeds)
        self.batches.append(len(pictures))
        with self._lock:
            self.held -= len(pictures)
        return ["" if color == self.silent else f"a {color} square" for color in pictures]


@dataclass
class Bench:
    """A folder with three pictures in its concept folder, and what the last run said."""

    folder: Path
    namer: Namer
    said: str = ""

    @property
    def concept(self) -> Path:
        return self.folder / "3_momo 角色"

    def run(self, ask: Callable[[str], bool] | None = None, hub: str = "", **options: Any) -> int:
        text = io.StringIO()
        given = Options(**{"train_data_dir": str(self.folder), **options})
        try:
            return work.caption(given, self.folder.parent / "captioners", hub, Reporter(Console(file=text, width=1000)), ask)
        finally:
            self.said = text.getvalue()

    def all(self, ending: str = ".txt") -> dict[str, str]:
        return {path.stem: path.read_bytes().decode() for path in sorted(self.folder.rglob(f"*{ending}"))}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    it = Bench(tmp_path / "data", Namer())
    it.concept.mkdir(parents=True)
    for name, color in COLORS.items():
        Image.new("RGB", (20, 10), color).save(it.concept / name)
    monkeypatch.setattr(model, "obtain", lambda *words: tmp_path)
    monkeypatch.setattr(model, "local", lambda *words: it.namer)
    return it


EACH = {"a": "a red square\n", "b": "a green square\n", "c": "a blue square\n"}


def test_each_picture_gets_a_sentence(bench: Bench) -> None:
    assert bench.run(batch_size=2) == 0
    assert bench.all() == EACH and "3 captions written\n" in bench.said
    assert bench.namer.batches == [2, 1]


@pytest.mark.parametrize(("there", "written"), [(".txt", ".caption"), (".caption", ".txt"), (".CAPTION", ".txt")])
def test_a_caption_under_the_other_ending_counts(bench: Bench, there: str, written: str) -> None:
    (bench.concept / f"b{there}").write_text("mine", encoding="utf-8")
    assert bench.run(caption_extension=written) == 0
    assert (
        sorted(bench.all(written)) == ["a", "c"] and "1 of 3 pictures have a caption and are skipped (--append, --overwrite)" in bench.said
    )


def test_nothing_is_loaded_where_there_is_nothing_to_do(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    monkeypatch.setattr(model, "obtain", lambda *words: pytest.fail("nobody needs it"))
    assert bench.run() == 0 and "every picture has its caption" in bench.said
    assert bench.run(caption_extension=".caption") == 0 and bench.all() == EACH and bench.all(".caption") == {}


def test_captions_that_exist_are_added_to_where_they_are(bench: Bench) -> None:
    (bench.concept / "a.caption").write_text("1girl, momo,\n", encoding="utf-8")
    (bench.concept / "b.txt").write_text("it is a green square. momo", encoding="utf-8")
    assert bench.run(append=True) == 0
    assert bench.all(".caption") == {"a": "1girl, momo, a red square\n"}
    assert bench.all() == {"b": "it is a green square. momo", "c": EACH["c"]}  # said already: nothing is written


def test_captions_that_exist_are_written_anew_under_the_ending_that_is_named(bench: Bench) -> None:
    (bench.concept / "a.caption").write_text("1girl", encoding="utf-8")
    (bench.concept / "b.txt").write_text("old", encoding="utf-8")
    assert bench.run(overwrite=True) == 0
    assert bench.all() == EACH and bench.all(".caption") == {"a": "1girl"}
    undo.last([bench.concept]).apply()
    assert bench.all() == {"b": "old"}


def test_a_caption_of_uncertain_encoding_is_left(bench: Bench) -> None:
    (bench.concept / "a.txt").write_bytes("綠色的地面".encode("big5"))
    assert bench.run(append=True) == 0
    assert "a.txt: left as it is: it is neither UTF-8 nor marked" in bench.said and "2 captions written" in bench.said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, "a cat"), ("", "a cat"), ("1girl", "1girl; a cat"), ("1girl;\n", "1girl; a cat"), ("a cat;", "a cat;"),
        ("a; b\n\nc\n", "a; b; a cat\n\nc; a cat"), ("\n", "a cat"),
    ],
)
def test_a_sentence_is_put_behind_what_is_there(old: str | None, new: str) -> None:
    assert work.joined(old, "a cat", "; ") == new


def test_broken_pictures_and_those_of_which_nothing_is_said_are_skipped(bench: Bench) -> None:
    (bench.concept / "a.png").write_bytes((bench.concept / "a.png").read_bytes()[:50])
    (bench.concept / "d.png").write_bytes(b"<html>")
    bench.namer.silent = "blue"
    assert bench.run() == 0
    assert bench.all() == {"b": EACH["b"]} and "1 caption written, 3 pictures skipped" in bench.said
    assert "a.png: skipped: it is cut short" in bench.said and "d.png: skipped: it is no picture" in bench.said
    assert "c.png: skipped: nothing was said of it" in bench.said
    assert bench.run() == 1 and "0 captions written, 3 pictures skipped" in bench.said  # none of those that are left


def test_a_stopped_run_goes_on_where_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COLORS:
        (bench.concept / name).with_suffix(".txt").write_text("old", encoding="utf-8")
    real, calls = captions.change, []

    def stopped(path: Path, *words: Any, **more: Any) -> Any:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, *words, **more)

    monkeypatch.setattr(captions, "change", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.run(overwrite=True)
    assert bench.all() == {"a": EACH["a"], "b": "old", "c": "old"}
    assert bench.run(overwrite=True) == 0 and bench.all() == EACH and len(calls) == 4
    assert "a run that was stopped goes on: 1 caption written already" in bench.said
    assert len({entry.run for entry in journal.entries(bench.concept)}) == 1


def test_a_run_stopped_at_its_very_end_is_finished_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("engine.tools.captions.transaction.Run.finish", lambda self: None)
        bench.run(overwrite=True)
    assert bench.run(overwrite=True) == 0 and "every picture has its caption" in bench.said
    bench.run(overwrite=True)
    assert "goes on" not in bench.said and "3 captions written" in bench.said


def test_the_seed_follows_from_the_pictures_content(bench: Bench) -> None:
    bench.run(batch_size=3)
    first = list(bench.namer.seeds)
    (bench.concept / "a.png").rename(bench.concept / "z.png")
    bench.run(overwrite=True)
    assert bench.namer.seeds[3:] == [first[1], first[2], first[0]] and len(set(first)) == 3
    bench.run(overwrite=True, seed=7)
    assert not set(bench.namer.seeds[6:]) & set(first)


def test_what_is_held_does_not_grow_with_the_number_of_pictures(bench: Bench) -> None:
    data = (bench.concept / "a.png").read_bytes()
    for number in range(60):
        (bench.concept / f"{number}.png").write_bytes(data)
    assert bench.run(batch_size=4, max_data_loader_n_workers=3) == 0
    assert len(bench.all()) == 63 and bench.namer.most <= 12  # a batch with the model, and two ahead of it


def test_both_ways_of_writing_at_once_are_refused(bench: Bench) -> None:
    with pytest.raises(UserError, match="not both"):
        bench.run(append=True, overwrite=True)
    assert bench.all() == {}


@pytest.mark.parametrize(
    ("options", "usual", "beams"),
    [
        ({}, 1, 1), ({}, 3, 3), ({"top_p": 0.9}, 3, 1), ({"beam_search": True}, 1, 1), ({"beam_search": True, "top_p": 0.9}, 3, 3),
        ({"num_beams": 1}, 3, 1), ({"num_beams": 5}, 1, 5), ({"num_beams": 5, "top_p": 0.5}, 1, 5),
    ],
)  # fmt: skip
def test_words_are_drawn_or_searched_for(options: dict[str, Any], usual: int, beams: int) -> None:
    assert Options(**options).beams(usual) == beams


# --- the endpoint


def test_a_server_takes_the_models_place(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "obtain", lambda *words: pytest.fail("nobody needs it"))
    monkeypatch.setenv("MY_KEY", " sk-secret\n")
    made = []

    def remote(options: Options) -> Any:
        made.append(real(options))
        return type("Server", (), {"url": "http://x/v1", "model": "m", "prepare": bench.namer.prepare, "describe": bench.namer.describe})()

    real = model.remote
    monkeypatch.setattr(model, "remote", remote)
    assert bench.run(endpoint="http://127.0.0.1:1/v1", endpoint_key="MY_KEY", endpoint_prompt="What?", max_length=9) == 0
    assert bench.all() == EACH and "each picture is sent to http://x/v1" in bench.said
    (endpoint,) = made
    assert (endpoint.key, endpoint.prompt, endpoint.max_length, endpoint.seeded, endpoint.top_p) == ("sk-secret", "What?", 9, False, None)
    kept = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    assert b"sk-secret" not in kept and "sk-secret" not in bench.said


def test_without_an_address_nothing_is_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.fetch.post", lambda *words, **more: pytest.fail("it was sent"))
    assert bench.run(endpoint_model="m", endpoint_prompt="What?") == 0


def test_a_key_that_is_not_there_is_told_before_anything_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UserError, match=r"--endpoint_key: this is no environment variable") as caught:
        bench.run(endpoint="http://127.0.0.1:1/v1", endpoint_key="sk-typed-by-mistake")
    assert "sk-typed" not in str(caught.value)


# --- captioners' files


@pytest.fixture
def site() -> Any:
    with serving() as it:
        yield it


def put(site: Site, repo: str, folder: Path) -> None:
    """Serve a folder as a model's page."""
    listed = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        large = {"lfs": {"sha256": hashlib.sha256(data).hexdigest()}} if path.suffix in (".safetensors", ".bin") else {}
        listed.append({"rfilename": path.name, "size": len(data), **large})
        site.files[f"/{repo}/resolve/main/{path.name}"] = data
    listed.append({"rfilename": "tf_model.h5", "size": 1})
    site.files[f"/api/models/{repo}"] = json.dumps({"siblings": listed}).encode()


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """As `bench`, with small real captioners by the names of the large ones."""
    monkeypatch.setattr(captioners, "CAPTIONERS", (fakes.BLIP, fakes.FLORENCE))
    it = Bench(tmp_path / "data", Namer())
    it.concept.mkdir(parents=True)
    for name, color in COLORS.items():
        Image.new("RGB", (20, 10), color).save(it.concept / name)
    return it


@pytest.mark.slow
def test_a_captioner_is_downloaded_where_the_user_agrees(real: Bench, site: Site, tmp_path: Path) -> None:
    put(site, fakes.BLIP.repo, fakes.blip(tmp_path / "page"))
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    with pytest.raises(UserError, match="needs config.json, tokenizer.json and model.safetensors here"):
        real.run(ask, site.address)
    assert site.paths() == [] and asked == ["The captioner blip-large is not here yet. Download it now (about 1.9 GB)?"]
    assert real.run(ask, site.address, batch_size=2) == 0
    place = tmp_path / "captioners/blip-large"
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    alone = real.all()
    assert len(alone) == 3 and "blip-large on the CPU: words drawn, top_p 0.9" in real.said
    assert real.run(None, "", overwrite=True, batch_size=1) == 0 and real.all() == alone  # whatever the batch
    real.run(None, "", overwrite=True, seed=43)
    assert real.all() != alone


def test_without_internet_the_message_says_which_files_to_put_where(real: Bench, tmp_path: Path) -> None:
    said = (
        r"captioners.florence-2-base: .*needs config.json, .*\nhint: `python -m engine download captioner florence-2-base`.*copy them there"
    )
    with pytest.raises(UserError, match=said):
        real.run(None, model="florence", task="<MORE_DETAILED_CAPTION>")
    with pytest.raises(UserError, match=r"cannot be reached(.|\n)*copy them there from florence-community/Florence-2-base"):
        model.fetched(fakes.FLORENCE, tmp_path / "x", "http://127.0.0.1:9", lambda text: None, pause=0)


def test_weights_of_the_older_kind_are_taken_where_there_are_no_others(real: Bench, site: Site, tmp_path: Path) -> None:
    page = fakes.blip(tmp_path / "page")
    fakes.pickle_weights(page)
    put(site, fakes.BLIP.repo, page)
    model.fetched(fakes.BLIP, tmp_path / "made", site.address, lambda text: None, pause=0)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["config.json", "pytorch_model.bin", "tokenizer.json"]


def test_only_what_is_missing_is_downloaded_and_a_wrong_file_is_refused(real: Bench, site: Site, tmp_path: Path) -> None:
    page, made = fakes.blip(tmp_path / "page"), tmp_path / "made"
    put(site, fakes.BLIP.repo, page)
    site.files[f"/{fakes.BLIP.repo}/resolve/main/model.safetensors"] = b"x" * (page / "model.safetensors").stat().st_size
    with pytest.raises(UserError, match="not the right file: its SHA-256"):
        model.fetched(fakes.BLIP, made, site.address, lambda text: None, pause=0)
    put(site, fakes.BLIP.repo, page)
    site.paths()
    model.fetched(fakes.BLIP, made, site.address, lambda text: None, pause=0)
    assert [path.rpartition("/")[2] for path in site.paths()] == [fakes.BLIP.repo.rpartition("/")[2], "model.safetensors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["captioner"], "model: which captioner?\nhint: choose one of blip-large, "),
        (["captioner", "blip-larg"], "Did you mean `blip-large`?"),
        (["captioner", "blip", "--out", "x.safetensors"], "a captioner is several files"),
    ],
)
def test_download_says_which_captioners_there_are(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["download", *words]) == 1
    assert said in capsys.readouterr().err


def test_the_command_line_reaches_the_work(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["caption", str(bench.folder), "--caption_extension", "caption"]) == 0
    assert bench.all(".caption") == EACH and "3 captions written" in capsys.readouterr().out
