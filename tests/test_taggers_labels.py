"""Label files of every kind: read, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from taggers_fakes import make, tags_of, write_labels

from engine.errors import UserError
from engine.taggers import labels, models
from engine.taggers.models import TAGGERS


@pytest.mark.parametrize("row", [row for row in TAGGERS if row.labels], ids=lambda row: row.name)
def test_the_labels_of_every_model_are_read(row, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_labels(tmp_path / row.labels, tags_of(row))
    found = labels.read(tmp_path / row.labels)
    assert list(zip(found.names, found.categories, strict=True)) == list(tags_of(row))


def test_a_list_in_a_models_metadata() -> None:
    found = labels.of_metadata("['1girl', 'rating:safe']", "x.onnx")
    assert (found.names, found.categories) == (("1girl", "safe"), ("general", "rating"))


@pytest.mark.parametrize("text", ["", "{}", "[]", "no list", "[1,", "__import__('os')"])
def test_metadata_that_is_no_list(text: str) -> None:
    with pytest.raises(UserError, match="carries no list of labels"):
        labels.of_metadata(text, "x.onnx")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id;name;category\n1;a;0\n", "no column `name`"),
        ("a.csv", "name,category\na,7\n", "`7` is no category"),
        ("a.csv", "name,category\n", "is empty"),
        ("a.json", "{", "Expecting"),
        ("a.json", "[]", "not a tagger's file"),
        ("a.json", '{"0": "a"}', "not a tagger's file"),
        ("a.json", '{"0": {"tag": "a", "category": "Weather"}}', "`Weather` is no category"),
        ("a.json", '{"1000000000": {"tag": "a", "category": "General"}}', "none of outputs"),
        ("a.json", '{"num_classes": 3, "categories": [{"name": "general", "offset": 0, "tags": ["a"]}]}', "names 1 tags"),
        ("a.json", '{"tag_to_category": {}}', "no 'tag_to_idx'"),
        ("a.txt", "\n\n", "is empty"),
        ("a.txt", "\udcff", "not a tagger's file"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as caught:
        labels.read(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "same page" not in caught.value.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        labels.read(tmp_path / "none.csv")


# --- names of taggers


@pytest.mark.parametrize("row", TAGGERS, ids=lambda row: row.name)
def test_a_tagger_is_found_by_every_name(row) -> None:  # type: ignore[no-untyped-def]
    for word in (row.name, row.name.upper(), row.repo, row.repo.partition("/")[2], *row.aliases):
        same_page = [other for other in TAGGERS if other.repo == row.repo]
        assert models.find(word) in same_page, word


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("wd14-swinv2-v2", "wd-v1-4-swinv2-v2"),
        ("moat", "wd-v1-4-moat-v2"),
        ("SmilingWolf/wd-v1-4-swinv2-tagger-v2", "wd-v1-4-swinv2-v2"),
        ("SmilingWolf/wd-v1-4-convnext-tagger-v2", "wd-v1-4-convnext-v2"),
        ("cella110n/cl_tagger/cl_tagger_1_02", "cl-tagger-1.02"),
    ],
)
def test_names_of_other_programs(word: str, name: str) -> None:
    assert models.find(word).name == name


@pytest.mark.parametrize("word", ["deepdanbooru-v3-20211112-sgd-e28/project.json", "model-resnet_custom_v3.pt", "x.h5"])
def test_other_formats_are_refused_with_the_file_that_works(word: str) -> None:
    with pytest.raises(UserError, match=r"not run here(.|\n)*deepdanbooru\.onnx"):
        models.find(word)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="wd-swinv2-v3"):
        models.find("wd-swinv2-v4")


def test_rows_are_whole() -> None:
    names = [name for row in TAGGERS for name in (row.name, *row.aliases)]
    assert len(set(names)) == len(names)
    assert models.find(models.DEFAULT).thresholds == {"general": 0.35, "character": 0.85}
    for row in TAGGERS:
        assert row.files[0].name.endswith(".onnx") and row.thresholds["general"] > 0
        assert all(len(file.sha256) in (0, 64) and (file.size > 0 or not file.sha256) for file in row.files)
    assert [row.name for row in TAGGERS if row.gated] == ["cl-tagger-v2"]


def test_the_recipe_makes_each_label_file(tmp_path: Path) -> None:
    for row in TAGGERS:
        make(row, tmp_path / row.name)
        assert all((tmp_path / row.name / name).is_file() for name in (row.model, row.labels or row.model))
