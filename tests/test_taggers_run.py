"""Small models with each tagger's real signature, run by onnxruntime; cards that fail; files that do not fit."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from taggers_fakes import expected, make, tags_of, write_labels

from engine.errors import UserError
from engine.taggers import folder, labels, models, run
from engine.taggers.models import TAGGERS, Tagger
from engine.taggers.prepare import prepare
from engine.taggers.run import CARD, PROCESSOR, Model

WD = models.find("wd-swinv2-v3")


def opened(path: Path, row: Tagger, told: list[str] | None = None, **more: Any) -> Model:
    names = labels.read(path.parent / row.labels) if row.labels else None
    return Model(path, row, names, (told if told is not None else []).append, **{"providers": (PROCESSOR,), **more})


def pictures(row: Tagger, count: int) -> np.ndarray:
    colours = np.random.default_rng(count).integers(0, 256, (count, 3))
    return np.stack([prepare(Image.new("RGB", (60, 40), tuple(map(int, colour))), row.input) for colour in colours])


@pytest.mark.parametrize("row", TAGGERS, ids=lambda row: row.name)
def test_every_tagger_gives_its_scores(row: Tagger, tmp_path: Path) -> None:
    external = any(file.name.endswith(".data") for file in row.files)
    model = opened(make(row, tmp_path, external=external), row)
    batch = pictures(row, 2)
    found = model.scores(batch)
    assert found.shape == (2, len(tags_of(row))) and found.dtype == np.float32
    np.testing.assert_allclose(found, [expected(row, one) for one in batch], atol=1e-3)
    assert model.provider == PROCESSOR and model.batch == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_fixed_batch_is_filled_up(tmp_path: Path, count: int) -> None:
    model = opened(make(WD, tmp_path, batch=3), WD)
    batch = pictures(WD, count)
    assert model.batch == 3
    np.testing.assert_allclose(model.scores(batch), [expected(WD, one) for one in batch], atol=1e-3)


# --- cards that fail


class Card:
    """onnxruntime with a card that fails as told, and a processor that works."""

    def __init__(self, fails: str) -> None:
        self.fails = fails
        self.started: list[str] = []

    def __call__(self, path: Path, provider: str) -> Any:
        self.started.append(provider)
        on_card = provider == CARD
        if on_card and self.fails == "start":
            raise RuntimeError("Failed to load dxcore.dll\nin a second line")
        value = np.nan if on_card and self.fails == "numbers" else 0.5

        def given(names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            if on_card and self.fails == "run":
                raise RuntimeError("887A0005 The GPU device instance has been suspended")
            return [np.full((len(feed["x"]), 9), value, np.float32)]

        size = WD.input.size
        return SimpleNamespace(
            get_inputs=lambda: [SimpleNamespace(name="x", shape=["N", size, size, 3], type="tensor(float)")],
            get_outputs=lambda: [SimpleNamespace(name="y", shape=["N", 9])],
            get_providers=lambda: [provider], get_modelmeta=lambda: None, run=given,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("start", "does not start (Failed to load dxcore.dll in a second line)"),
        ("run", "failed (887A0005"),
        ("numbers", "numbers that are"),
    ],
)
def test_a_card_that_fails_is_left_for_the_processor(tmp_path: Path, fails: str, said: str) -> None:
    told: list[str] = []
    card = Card(fails)
    write_labels(tmp_path / WD.labels, tags_of(WD))
    model = opened(tmp_path / WD.model, WD, told, providers=(CARD, PROCESSOR), opened=card)
    assert (model.scores(np.zeros((2, 448, 448, 3), np.float32)) == 0.5).all()
    assert model.provider == PROCESSOR and card.started == [CARD, PROCESSOR]
    (line,) = told
    assert said in line and "the processor is used, which is slower" in line


def test_a_card_that_works_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    write_labels(tmp_path / WD.labels, tags_of(WD))
    model = opened(tmp_path / WD.model, WD, told, providers=(CARD, PROCESSOR), opened=Card(""))
    model.scores(np.zeros((1, 448, 448, 3), np.float32))
    assert model.provider == CARD and not told


def test_a_processor_that_fails_is_told(tmp_path: Path) -> None:
    write_labels(tmp_path / WD.labels, tags_of(WD))

    def broken(path: Path, provider: str) -> Any:
        raise RuntimeError("no memory")

    with pytest.raises(UserError, match=r"cannot be opened \(no memory\)"):
        opened(tmp_path / WD.model, WD, providers=(CARD, PROCESSOR), opened=broken)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnxruntime_falls_back_to_nothing_by_itself(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"Dml|not.*available|took"):
        run.open_session(make(WD, tmp_path), CARD)


# --- files that do not fit


def test_another_models_input_is_told(tmp_path: Path) -> None:
    canary = models.find("canary")
    with pytest.raises(
        UserError, match=r"another model than wd-eva02-2026-canary: it takes .*448, 448, 3.*and that one \[N, 3, 448, 448\]"
    ):
        opened(make(WD, tmp_path), canary)


def test_another_size_is_told(tmp_path: Path) -> None:
    path = make(models.find("cl-tagger-v2"), tmp_path)
    with pytest.raises(UserError, match="another model than pixai-1.0"):
        Model(path, models.find("pixai-1.0"), None, print, providers=(PROCESSOR,))


@pytest.mark.parametrize(
    ("made", "wanted", "said"),
    [
        ("canary", "pixai-0.9", "no output `prediction`, only output"),
    ],
)
def test_a_missing_output_is_told(tmp_path: Path, made: str, wanted: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        opened(make(models.find(made), tmp_path), models.find(wanted))


def test_labels_of_another_number_are_told(tmp_path: Path) -> None:
    path = make(WD, tmp_path)
    write_labels(tmp_path / WD.labels, tags_of(WD)[:-2])
    with pytest.raises(UserError, match=r"gives 9 numbers, and selected_tags\.csv has 7 labels"):
        opened(path, WD)


def test_missing_external_data_is_told(tmp_path: Path) -> None:
    row = models.find("pixai-1.0")
    path = make(row, tmp_path, external=True)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(UserError, match=r"second file, which is missing \(model\.onnx\.data\)"):
        opened(path, row)


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(1000)])
def test_a_file_that_is_no_model_is_told(tmp_path: Path, data: bytes) -> None:
    path = make(WD, tmp_path)
    path.write_bytes(data)
    with pytest.raises(UserError, match="cannot be opened|another model"):
        opened(path, WD)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("model.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        ("model.onnx", b"<!DOCTYPE html>", "web page"),
        ("project.json", b"{}", "TensorFlow project(.|\n)*deepdanbooru.onnx"),
        ("model-resnet_custom_v3.h5", b"\x89HDF", "TensorFlow model(.|\n)*deepdanbooru.onnx"),
        ("model-resnet_custom_v3.pt", b"PK", "PyTorch model(.|\n)*deepdanbooru.onnx"),
    ],
)
def test_other_files_in_a_taggers_folder_are_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=said):
        folder.require_kind(WD, tmp_path)


def test_differences_from_the_records_are_told_with_both_values(tmp_path: Path) -> None:
    make(WD, tmp_path)
    lines = folder.differences(WD, tmp_path, ["a" * 64, WD.files[1].sha256])
    assert len(lines) == 1 and "a" * 64 in lines[0] and WD.files[0].sha256 in lines[0] and "467,460,978" in lines[0]


@pytest.mark.parametrize("below", ["wd-swinv2-v3", "SmilingWolf_wd-swinv2-tagger-v3", "."])
def test_folders_of_other_programs_are_found(tmp_path: Path, below: str) -> None:
    make(WD, tmp_path / below)
    assert folder.find(WD, tmp_path) == tmp_path / below


def test_sd_scripts_folder_within_a_page_is_found(tmp_path: Path) -> None:
    row = models.find("cl-tagger-1.02")
    make(row, tmp_path / "cella110n_cl_tagger/cl_tagger_1_02")
    assert folder.find(row, tmp_path) == tmp_path / "cella110n_cl_tagger/cl_tagger_1_02"


@pytest.mark.parametrize("broken", ["raise ImportError('DLL load failed')", "raise OSError('blocked')"])
def test_a_runtime_that_cannot_be_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """As on a Windows without its C++ runtime."""
    (tmp_path / "onnxruntime.py").write_text(broken, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(UserError, match="the package cannot be imported") as caught:
        run.available()
    assert caught.value.where == "onnxruntime"
