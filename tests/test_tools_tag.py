"""`tag` on small taggers: which pictures, what is written, what is kept, how it goes on, and every way in which it cannot."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_server import Site, serving
from PIL import Image
from rich.console import Console
from taggers_fakes import MORE, TAGS, expected, make, tags_of, write_labels

from engine import __main__ as command
from engine.console import Reporter
from engine.errors import UserError
from engine.taggers import models
from engine.taggers.prepare import prepare
from engine.taggers.words import normal
from engine.tools.captions import journal, undo
from engine.tools.labelling import Ask, captions, pictures
from engine.tools.tag import look, model
from engine.tools.tag.captions import added
from engine.tools.tag.command import tag
from engine.tools.tag.options import Options
from engine.tools.tag.scores import FILE, Scores, scores

ROW = models.find("wd-swinv2-v3")
LONG = "長" * 60 + "n" * 20  # 200 bytes
NAMES = ("a.png", "貓 😀.png", f"{LONG}.png", "c.jpg")


class Bench:
    """A folder of pictures, a folder of taggers, a cache; `run` tags and keeps what was said."""

    def __init__(self, place: Path) -> None:
        self.folder, self.models, self.cache = place / "pictures 圖", place / "taggers", place / "cache"
        self.hub = "http://127.0.0.1:9"  # nobody listens there
        self.said = ""
        make(ROW, self.models / ROW.name)
        for number, name in enumerate(NAMES):
            self.picture(f"3_momo/{name}", number)

    def picture(self, name: str, number: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 * number % 256, 90, 255 - 30 * number % 256)).save(path)
        return path

    def run(self, *, ask: Ask | None = None, **options: Any) -> int:
        out = io.StringIO()
        given = {"train_data_dir": str(self.folder), "cache_dir": str(self.cache), "batch_size": 2, "thresh": 0.5, **options}
        try:
            return tag(Options(**given), self.models, self.hub, Reporter(Console(file=out, width=400)), ask)
        finally:
            self.said = out.getvalue()

    def caption(self, name: str = "a") -> str:
        return (self.folder / "3_momo" / f"{name}.txt").read_text(encoding="utf-8")

    def all(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.rglob("*.txt"))}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # takes most of the time, and no test here cuts the power
    return Bench(tmp_path)


def wanted(path: Path, lowest: float = 0.5) -> list[str]:
    """The tags that a picture must get, computed here."""
    with Image.open(path) as image:
        given = expected(ROW, prepare(image.convert("RGB"), ROW.input))
    ranked = sorted(((score, name) for (name, kind), score in zip(tags_of(ROW), given, strict=True) if kind != "rating"), reverse=True)
    return [name for score, name in ranked if score >= lowest and name]


def test_every_picture_gets_its_tags(bench: Bench) -> None:
    assert bench.run() == 0
    for name in NAMES:
        path = bench.folder / "3_momo" / name
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == ", ".join(wanted(path)) + "\n"
    assert "wd-swinv2-v3 ran on the processor" in bench.said and "pictures tagged: 4 of 4" in bench.said


@pytest.mark.parametrize("name", ["pixai-1.0", "camie-v2", "joytag", "deepdanbooru-skytnt"])
def test_other_taggers_do_the_same(bench: Bench, name: str) -> None:
    row = models.find(name)
    make(row, bench.models / row.name, external=name == "pixai-1.0")
    assert bench.run(repo_id=name, thresh=0.01, categories=("general", "character", "artist", "copyright", "meta")) == 0
    written = set(bench.caption().strip().split(", "))
    assert written == {tag for tag, category in tags_of(row) if category != "rating" and tag} and "4 captions written" in bench.said


def test_trigger_and_spaces(bench: Bench) -> None:
    bench.run(trigger="momo, 1girl", remove_underscore=True, thresh=0.01, undesired_tags="red", caption_extension=".caption")
    text = (bench.folder / "3_momo/a.caption").read_text(encoding="utf-8").strip()
    first, second, *others = text.split(", ")
    assert (first, second) == ("momo", "1girl") and "1girl" not in others and "red" not in others and "long hair" in others


# --- captions that exist


def test_captions_that_exist_are_skipped_added_to_or_written_anew(bench: Bench) -> None:
    old = bench.folder / "3_momo/a.txt"
    old.write_text("blue sky, Long Hair", encoding="utf-8")
    bench.run(thresh=0.01)
    assert bench.caption() == "blue sky, Long Hair" and "1 of 4 pictures have a caption" in bench.said
    bench.run(thresh=0.01, append_tags=True, trigger="momo")
    text = bench.caption().strip()
    assert text.startswith("momo, blue sky, Long Hair, ") and text.lower().replace("_", " ").count("long hair") == 1
    bench.run(thresh=0.01, overwrite=True)
    assert "blue sky" not in bench.caption()
    with pytest.raises(UserError, match="not both"):
        bench.run(append_tags=True, overwrite=True)


def test_escaped_brackets_are_no_other_tag(bench: Bench) -> None:
    (bench.folder / "3_momo/a.txt").write_text(r"Saber \(fate\)", encoding="utf-8")
    bench.run(thresh=0.01, append_tags=True)
    assert bench.caption().startswith(r"Saber \(fate\), ") and "saber_(fate)" not in bench.caption()


@pytest.mark.parametrize(
    ("old", "new"),
    [("", "x, a, b"), ("A", "x, A, b"), ("a, X,\n", "a, X, b"), ("c, a\n\nd\n", "x, c, a, b\n\nx, d, a, b"), ("\n", "x, a, b")],
)
def test_tags_are_added_to_each_line(old: str, new: str) -> None:
    assert added(old, ["a", "b"], ["x"], ", ") == new


def test_adding_twice_adds_nothing(bench: Bench) -> None:
    bench.run(append_tags=True)
    before = bench.all()
    bench.run(append_tags=True)
    assert bench.all() == before


def test_a_run_is_undone_as_one(bench: Bench) -> None:
    (bench.folder / "3_momo/a.txt").write_bytes("blue".encode("utf-16"))
    before = bench.all()
    bench.run(overwrite=True)
    assert bench.all() != before and len(bench.all()) == 4
    undo.last([bench.folder / "3_momo"]).apply()
    assert bench.all() == before


@pytest.mark.parametrize("raw", ["白い猫、青い空、草原".encode("cp932"), "голубое небо".encode("cp1251"), b"\xff\xd8\xff\x00\x01"])
def test_a_caption_of_uncertain_encoding_is_left_and_named(bench: Bench, raw: bytes) -> None:
    path = bench.folder / "3_momo/a.txt"
    path.write_bytes(raw)
    for mode in ({"append_tags": True}, {"overwrite": True}):
        assert bench.run(**mode) == 0
        assert path.read_bytes() == raw and f"{path}: left as it is" in bench.said
    assert len(bench.all()) == 4


def test_nothing_to_do_needs_no_tagger(bench: Bench) -> None:
    bench.run()
    (bench.models / ROW.name / ROW.model).unlink()
    assert bench.run() == 0 and "every picture has its caption" in bench.said


# --- which pictures


def found(bench: Bench, *, recursive: bool = False) -> list[str]:
    return [it.path.relative_to(bench.folder).as_posix() for it in pictures.find(bench.folder, ".txt", recursive=recursive).pictures]


def test_which_pictures_are_found(bench: Bench) -> None:
    for name in ("top.png", "deeper/b.png", "3_momo/more/c.png", ".hidden/d.png"):
        bench.picture(name)
    own = ["top.png", *sorted(f"3_momo/{name}" for name in NAMES)]
    assert found(bench) == own
    assert sorted(found(bench, recursive=True)) == sorted([*own, "deeper/b.png", "3_momo/more/c.png"])


def test_two_pictures_of_one_name_share_a_caption(bench: Bench) -> None:
    bench.picture("3_momo/a.jpg")
    result = pictures.find(bench.folder, ".txt", recursive=False)
    assert len(result.pictures) == 4 and "not looked at" in result.notes[0]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "no pictures found"),
        (["deeper/a.png"], "`deeper` in it has 1 picture(.|\n)*--recursive"),
        (["a.gif"], "not read here, such as a.gif"),
    ],
)
def test_a_folder_without_pictures(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=said):
        pictures.find(tmp_path, ".txt", recursive=False)
    with pytest.raises(UserError, match="does not exist"):
        pictures.find(tmp_path / "none", ".txt", recursive=False)


def test_a_link_in_a_circle_ends(bench: Bench) -> None:
    (bench.folder / "again").symlink_to(bench.folder, target_is_directory=True)
    assert len(found(bench, recursive=True)) == 4


# --- pictures that are broken, runs that are stopped


def test_a_broken_picture_is_reported_and_skipped(bench: Bench) -> None:
    broken = bench.folder / "3_momo/b.png"
    broken.write_bytes((bench.folder / "3_momo/a.png").read_bytes()[:60])
    (bench.folder / "3_momo/d.png").write_bytes(b"")
    assert bench.run() == 0
    assert f"{broken}: skipped: it is cut short" in bench.said and "d.png: skipped: the file is empty" in bench.said
    assert len(bench.all()) == 4
    assert bench.run(train_data_dir=str(bench.folder), caption_extension=".txt") == 1  # only broken ones are left


def test_a_stopped_run_goes_on_where_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bench.folder / "3_momo"
    for name in NAMES:
        (folder / name).with_suffix(".txt").write_text("old", encoding="utf-8")
    real, calls = captions.change, []

    def stopped(path: Path, *words: Any, **more: Any) -> Any:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(path, *words, **more)

    monkeypatch.setattr(captions, "change", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.run(append_tags=True)
    assert sum(text != b"old" for text in bench.all().values()) == 2  # what was done is written
    assert bench.run(append_tags=True) == 0
    assert "a run that was stopped goes on: 2 captions written already" in bench.said and len(calls) == 5
    assert len({entry.run for entry in journal.entries(folder)}) == 1
    undo.last([folder]).apply()
    assert set(bench.all().values()) == {b"old"}


@pytest.mark.parametrize("deleted", [True, False])
def test_a_run_that_was_stopped_at_its_very_end_is_finished_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    bench.run()
    with monkeypatch.context() as patch:
        patch.setattr("engine.tools.captions.transaction.Run.finish", lambda self: None)
        bench.run(overwrite=True, trigger="momo")
    if deleted:
        (bench.folder / "3_momo/a.txt").unlink()  # which the next one makes again
    bench.run(overwrite=True, trigger="momo")
    assert "goes on" in bench.said and ("pictures tagged: 1 of 1" in bench.said) is deleted
    (bench.folder / "3_momo/a.txt").write_text("mine", encoding="utf-8")
    bench.run(overwrite=True, trigger="momo")
    assert "goes on" not in bench.said and bench.caption().startswith("momo")


def test_a_run_with_other_settings_is_no_continuation(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.tools.captions.transaction.Run.finish", lambda self: None)
    bench.run(overwrite=True)
    bench.run(overwrite=True, thresh=0.01)
    assert "goes on" not in bench.said and len({entry.run for entry in journal.entries(bench.folder / "3_momo")}) == 2


def test_a_run_has_the_same_name_in_every_process() -> None:
    """Sets have another order in each process, which made a run that was stopped begin anew."""
    code = (
        "from engine.taggers import models; from engine.tools.labelling.captions import run_name;"
        "from engine.tools.tag import command, options;"
        "print(run_name('tag', command.chosen(options.Options(undesired_tags='a, b, c, d, e'), models.find('moat'))))"
    )
    named = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True).stdout
        for seed in "123"
    }
    assert len(named) == 1 and named.pop()


# --- scores that are kept


def test_other_thresholds_need_no_model(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    monkeypatch.setattr("engine.taggers.run.Model.scores", lambda *_: pytest.fail("the model ran"))
    bench.run(overwrite=True, thresh=0.6)
    assert bench.caption().strip() == ", ".join(wanted(bench.folder / "3_momo/a.png", 0.6))
    assert "all scores were kept from earlier runs" in bench.said


def test_a_changed_picture_or_model_is_looked_at_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    ran: list[int] = []
    real = model.Model.scores
    monkeypatch.setattr(model.Model, "scores", lambda self, batch: ran.append(len(batch)) or real(self, batch))
    bench.picture("3_momo/a.png", 7)
    bench.run(overwrite=True)
    assert sum(ran) == 1
    make(ROW, bench.models / ROW.name, tags=[*TAGS, ("blue", "general")])
    bench.run(overwrite=True)
    assert sum(ran) == 5


def test_scores_by_tag(bench: Bench) -> None:
    bench.run()
    paths = [bench.folder / "3_momo" / name for name in NAMES]
    new = bench.picture("3_momo/new.png", 5)
    answer = scores([*paths, new], bench.cache)
    assert set(answer) == set(paths)
    with Image.open(paths[0]) as image:
        given = expected(ROW, prepare(image, ROW.input))
    named = {normal(name): score for (name, _), score in zip(TAGS, given, strict=True) if name and score >= 0.01}
    assert answer[paths[0]] == pytest.approx(named, abs=1e-3)
    assert scores(paths, bench.cache, "joytag") == {} and scores(paths, bench.cache / "none") == {}
    assert set(scores(paths, bench.cache, ROW.name)) == set(paths)


def test_captions_adds_a_tag_where_it_has_a_score(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(thresh=1.1)
    given = scores([bench.folder / "3_momo" / name for name in NAMES], bench.cache)
    lowest = sorted(found["red"] for found in given.values())[2]
    places = ["--train_data_dir", str(bench.folder), "--cache_dir", str(bench.cache)]
    assert command.main(["captions", "add", "Red", "--min_score", str(lowest), *places]) == 0
    for path, found in given.items():
        assert ("Red" in path.with_suffix(".txt").read_text(encoding="utf-8")) is (found["red"] >= lowest)
    capsys.readouterr()


@pytest.mark.parametrize("damage", [b"no database" * 100, b""])
def test_a_damaged_file_of_scores_is_made_anew(bench: Bench, damage: bytes) -> None:
    bench.run()
    (bench.cache / FILE).write_bytes(damage)
    assert bench.run(overwrite=True) == 0
    assert ("was damaged" in bench.said) is bool(damage)
    assert len(scores([bench.folder / "3_momo/a.png"], bench.cache)) == 1


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    given = np.random.default_rng(0).random(70_000).astype(np.float32) ** 8
    always = np.zeros(70_000, np.bool_)
    always[:4] = True
    with Scores(tmp_path) as kept:
        kept.put("m", "p", given, always)
        kept.commit()
        found = kept.get("m", "p", 70_000)
        assert found is not None and kept.get("m", "q", 70_000) is None and kept.get("m", "p", 100) is None
    assert (found[:4] == given[:4]).all() and (np.where(given >= 0.01, given, 0)[4:] == found[4:]).all()


# --- memory, batches, other outputs


def test_memory_does_not_grow_with_the_pictures(bench: Bench) -> None:
    """Of 100 pictures made ready, only a few may be there at any time: those ahead, a batch, and what threads copy."""
    row = dataclasses.replace(ROW, input=dataclasses.replace(ROW.input, size=128))
    make(row, bench.models / "small")
    ready = model.ready(row, bench.models / "small", bench.cache, lambda line: None)
    path = bench.folder / "3_momo/a.png"
    many = [pictures.Picture(path, path.with_suffix(".txt"), False)] * 100
    ready.model.scores(np.zeros((1, 128, 128, 3), np.float32))
    with Scores(bench.cache / "other") as kept:
        tracemalloc.start()
        try:
            assert sum(1 for _ in look.look(many, ready, kept, batch=2, threads=2, lowest=0.001)) == 100
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 30 * 128 * 128 * 3 * 4, peak


def test_a_fixed_batch_is_respected(bench: Bench) -> None:
    make(ROW, bench.models / ROW.name, batch=1)
    assert bench.run(batch_size=3) == 0
    assert bench.caption().strip() == ", ".join(wanted(bench.folder / "3_momo/a.png"))


def test_a_threshold_that_no_tag_reaches_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["tag", str(bench.folder), "--thresh", "35"]) == 1
    assert "--thresh: 35 is outside 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_all_captions_in_one_file(bench: Bench, ending: str) -> None:
    target = bench.cache / f"all{ending}"
    bench.run(output_path=str(target), trigger="momo")
    text = target.read_text(encoding="utf-8")
    path = bench.folder / "3_momo/貓 😀.png"
    caption = ", ".join(["momo", *wanted(path)])
    if ending == ".json":
        assert json.loads(text)[str(path)] == {"tags": caption, "image_size": [40, 30]} and len(json.loads(text)) == 4
    else:
        rows = [json.loads(line) for line in text.splitlines()]
        assert {"image_path": str(path), "caption": caption, "image_size": [40, 30]} in rows and len(rows) == 4
    assert bench.all() == {}
    for more, said in (({}, "exists already"), ({"append_tags": True}, "nothing is added to one file")):
        with pytest.raises(UserError, match=said):
            bench.run(output_path=str(target), **more)
        assert target.read_text(encoding="utf-8") == text
    bench.run(output_path=str(target), overwrite=True)
    assert "momo," not in target.read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"neither in \.json"):
        bench.run(output_path="x.txt")


def test_the_table_of_frequencies(bench: Bench) -> None:
    bench.run(frequency_tags=True, thresh=0.01, debug=True)
    assert "  4  1girl" in bench.said and "a.png:\n  general: " in bench.said


# --- files of the tagger


def test_a_file_that_differs_from_the_record_is_told_and_used(bench: Bench) -> None:
    bench.run()
    assert "recorded is e6774bff34d4" in bench.said and "used if its labels and shapes fit" in bench.said


def test_labels_that_do_not_fit_write_nothing(bench: Bench) -> None:
    write_labels(bench.models / ROW.name / ROW.labels, TAGS[:-1])
    with pytest.raises(UserError, match="9 numbers, and selected_tags.csv has 8 labels"):
        bench.run()
    assert bench.all() == {}


def test_without_the_model_nobody_is_asked_where_nobody_can_be(bench: Bench) -> None:
    (bench.models / ROW.name / ROW.model).unlink()
    with pytest.raises(UserError) as caught:
        bench.run()
    text = str(caught.value)
    assert "model.onnx missing" in text and "download tagger wd-swinv2-v3" in text
    assert f"{bench.hub}/SmilingWolf/wd-swinv2-tagger-v3/resolve/{ROW.revision}/model.onnx  (467 MB)" in text
    assert str(bench.models / ROW.name / ROW.model) in text and bench.all() == {}


@pytest.mark.parametrize("place", ["", ROW.name])
def test_a_tensorflow_project_is_refused(bench: Bench, tmp_path: Path, place: str) -> None:
    (tmp_path / "mine" / place).mkdir(parents=True)
    (tmp_path / "mine" / place / "project.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"TensorFlow project(.|\n)*deepdanbooru\.onnx"):
        bench.run(model_dir=str(tmp_path / "mine"))


def test_offline_the_message_says_which_files_to_put_where(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.models / ROW.name / ROW.labels).unlink()
    monkeypatch.setattr("engine.fetch._PAUSE", 0)
    monkeypatch.setattr(model, "download", lambda *words, **more: _download(*words, pause=0, **more))
    with pytest.raises(UserError, match=r"selected_tags\.csv  \(308 kB\)\n    -> .*selected_tags\.csv"):
        bench.run(ask=lambda question: True)


_download = model.download


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as it:
        yield it


def publish(site: Site, row: models.Tagger, place: Path) -> None:
    make(row, place)
    for file in row.files:
        site.files[f"/{row.repo}/resolve/{row.revision}/{file.path}"] = (place / file.name).read_bytes()


def test_a_missing_tagger_is_offered_with_its_size(bench: Bench, site: Site, tmp_path: Path) -> None:
    row = models.find("moat")
    publish(site, row, tmp_path / "published")
    bench.hub = site.address
    asked: list[str] = []
    with pytest.raises(UserError, match="is not here"):
        bench.run(repo_id="moat", ask=lambda question: bool(asked.append(question)))
    assert asked == ["The tagger wd-v1-4-moat-v2 is not here yet. Download it now (326 MB)?"] and not site.paths()
    assert bench.run(repo_id="moat", ask=lambda question: True) == 0
    assert (bench.models / row.name / "model.onnx").is_file() and len(bench.all()) == 4
    site.paths()
    bench.run(repo_id="moat", overwrite=True, force_download=True)
    assert len(site.paths()) == 2


def test_a_gated_tagger_is_never_downloaded(bench: Bench, site: Site) -> None:
    bench.hub = site.address
    for run in (lambda: bench.run(repo_id="cl-tagger-v2", ask=lambda question: True), lambda: bench.run(repo_id="cl-tagger-v2")):
        with pytest.raises(UserError, match="signed-in user who agreed to its licence"):
            run()
    assert not site.paths()
    row = models.find("cl-tagger-v2")
    make(row, bench.models / row.name, external=True)  # a user put it there
    assert bench.run(repo_id="cl-tagger-v2") == 0
    with pytest.raises(UserError, match="force_download: cl-tagger-v2 is put there by hand"):
        bench.run(repo_id="cl-tagger-v2", force_download=True, overwrite=True)


def test_download_tagger(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = models.find("camie-v2")
    publish(site, row, tmp_path / "published")
    monkeypatch.setattr("engine.commands.download.ROOT", tmp_path)
    assert command.main(["download", "tagger", "camie", "--mirror", site.address]) == 0
    said = capsys.readouterr().out
    assert f"camie-v2: {len(MORE)} tags" in said and "--repo_id camie-v2" in said
    assert (tmp_path / "models/taggers/camie-v2/camie-tagger-v2-metadata.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tagger"], "which tagger?(.|\n)*pixai-1.0"),
        (["tagger", "nothing"], "there is no tagger `nothing`"),
        (["tagger", "moat", "--sha256", "0" * 64], "a tagger is several files"),
        (["owner/one", "owner/two"], "one model at a time"),
    ],
)
def test_a_wrong_download_is_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["download", *words]) == 1
    assert re.search(said, capsys.readouterr().err)


def test_a_download_that_does_not_fit_is_told(site: Site, tmp_path: Path) -> None:
    row = models.find("joytag")
    publish(site, row, tmp_path / "published")
    site.files[f"/{row.repo}/resolve/{row.revision}/top_tags.txt"] = b"one\ntwo\n"
    with pytest.raises(UserError, match=r"gives 9 numbers, and top_tags\.txt has 2 labels"):
        model.fetched(row, tmp_path / "got", site.address, print, pause=0)


# --- folders and disks that refuse


def test_a_folder_that_cannot_be_written_is_told_before_the_model_runs(
    bench: Bench, as_user: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = bench.folder / "3_momo"
    (bench.models / ROW.name / ROW.model).unlink()  # which would be told next
    folder.chmod(0o555)
    try:
        answer = as_user("-m", "engine", "tag", str(bench.folder), "--model_dir", str(bench.models), "--cache_dir", str(bench.cache))
    finally:
        folder.chmod(0o755)
    assert answer.returncode == 1 and "cannot be written to" in answer.stderr and str(folder) in answer.stderr


def test_a_full_disk_of_scores_is_told(small_disk: Path) -> None:
    with pytest.raises(UserError, match="the scores cannot be kept"), Scores(small_disk) as kept:  # noqa: PT012 - whichever of many is too much
        for number in range(100):
            kept.put("m", str(number), np.ones(10_000, np.float32), np.zeros(10_000, np.bool_))
            kept.commit()
