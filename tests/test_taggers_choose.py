"""Scores -> tags: thresholds, categories, words left out and replaced, underscores, order."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import UserError
from engine.taggers import choose, models
from engine.taggers.labels import Labels
from engine.taggers.words import FACES, normal, spaced
from engine.tools.tag.command import chosen
from engine.tools.tag.options import Options, replacements, single_thresholds

TABLE = (
    ("general", "rating", 0.2), ("sensitive", "rating", 0.3), ("best quality", "quality", 0.01), ("1girl", "general", 0.9),
    ("long_hair", "general", 0.5), ("^_^", "general", 0.4), ("", "general", 0.99), ("smile", "general", 0.2),
    ("saber_(fate)", "character", 0.8), ("an_artist", "artist", 0.7), ("fate", "copyright", 0.6),
)  # fmt: skip
LABELS = Labels(tuple(name for name, _, _ in TABLE), tuple(category for _, category, _ in TABLE))
SCORES = np.array([score for _, _, score in TABLE], np.float32)
CL = models.find("cl-tagger-1.02")
WD = models.find("wd-swinv2-v3")


def words(row: models.Tagger = CL, **options: object) -> str:
    """The caption's tags for these options of `tag`."""
    return ", ".join(tag.text for tag in choose.choose(SCORES, LABELS, chosen(Options(**options), row)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        ({}, "1girl, saber_(fate), fate, long_hair, ^_^"),
        ({"thresh": 0.55}, "1girl, saber_(fate), fate"),
        ({"thresh": 0.55, "general_threshold": 0.15}, "1girl, saber_(fate), fate, long_hair, ^_^, smile"),
        ({"character_threshold": 1.1}, "1girl, fate, long_hair, ^_^"),
        ({"artist_threshold": 0.5}, "1girl, saber_(fate), an_artist, fate, long_hair, ^_^"),
        ({"categories": ("character", "artist")}, "saber_(fate), an_artist"),
        ({"tag_thresholds": "Smile=0.1, 1girl=0.95"}, "saber_(fate), fate, long_hair, ^_^, smile"),
        ({"undesired_tags": "long hair,FATE"}, "1girl, saber_(fate), ^_^"),
        ({"remove_underscore": True}, "1girl, saber (fate), fate, long hair, ^_^"),
        ({"character_tag_expand": True}, "1girl, saber, fate, long_hair, ^_^"),  # the series is there once
        ({"character_tag_expand": True, "undesired_tags": "fate"}, "1girl, saber, long_hair, ^_^"),
        ({"tag_replacement": "1girl,solo;long_hair,"}, "solo, saber_(fate), fate, ^_^"),
        ({"tag_replacement": "1girl,fate"}, "fate, saber_(fate), long_hair, ^_^"),
        ({"use_rating_tags": True}, "sensitive, 1girl, saber_(fate), fate, long_hair, ^_^"),
        ({"use_rating_tags_as_last_tag": True}, "1girl, saber_(fate), fate, long_hair, ^_^, sensitive"),
        ({"use_rating_tags": True, "undesired_tags": "sensitive"}, "1girl, saber_(fate), fate, long_hair, ^_^"),
        ({"use_quality_tags": True, "use_rating_tags": True}, "sensitive, best quality, 1girl, saber_(fate), fate, long_hair, ^_^"),
        ({"use_quality_tags_as_last_tag": True}, "1girl, saber_(fate), fate, long_hair, ^_^, best quality"),
        ({"order": "model"}, "1girl, long_hair, ^_^, saber_(fate), fate"),
        ({"order": "name"}, "1girl, ^_^, fate, long_hair, saber_(fate)"),
        ({"order": "model", "character_tags_first": True}, "saber_(fate), 1girl, long_hair, ^_^, fate"),
        ({"always_first_tags": "long hair, 1girl"}, "long_hair, 1girl, saber_(fate), fate, ^_^"),
        ({"max_tags": 2}, "1girl, saber_(fate)"),
        ({"thresh": 1.1}, ""),
    ],
    ids=str,
)
def test_options_choose_tags(options: dict[str, object], tags: str) -> None:
    assert words(**options) == tags


def test_our_defaults_are_035_and_085() -> None:
    assert words(WD) == "1girl, fate, long_hair, ^_^"
    assert chosen(Options(), WD).thresholds == {"general": 0.35, "character": 0.85, "copyright": 0.35}
    assert chosen(Options(thresh=0.5), WD).thresholds == {"general": 0.5, "character": 0.5, "copyright": 0.5}


def test_a_models_own_thresholds_are_its_default() -> None:
    pixai = models.find("pixai-1.0")
    assert chosen(Options(categories=("general", "artist", "meta")), pixai).thresholds == {"general": 0.17, "artist": 0.15, "meta": 0.17}


@pytest.mark.parametrize("face", sorted(FACES))
def test_faces_keep_their_underscore(face: str) -> None:
    assert spaced(face) == face


def test_tags_are_compared_without_case_and_underscores() -> None:
    assert normal("Long_Hair ") == normal("long  hair") == "long hair"


@pytest.mark.parametrize("text", ["smile", "smile=", "=0.3", "smile=many"])
def test_a_wrong_threshold_of_a_tag_is_told(text: str) -> None:
    with pytest.raises(UserError, match="is not `tag=score`"):
        single_thresholds((text,))


def test_a_face_may_have_a_threshold() -> None:
    assert single_thresholds(("=_==0.5", "+_+=0.1")) == {"=_=": 0.5, "+_+": 0.1}


@pytest.mark.parametrize("text", ["a", "a,b,c", ",b"])
def test_a_wrong_replacement_is_told(text: str) -> None:
    with pytest.raises(UserError, match="is not `old,new`"):
        replacements(text)
