"""Token ids: golden ones, and equality with transformers' tokenizer. No torch."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from engine.errors import UserError

tokens = pytest.importorskip("engine.models.tokens", exc_type=ImportError)

TEXTS = [
    "a photo of sks dog",
    "masterpiece, best_quality, (1girl:1.2), looking_at_viewer",
    "日本語のテスト",
    "café naïve Ünïcödé ﬁ Ａｂｃ İstanbul ß ẞ ½ ² Ⅷ",
    "👨‍👩‍👧‍👦 🎉",
    "  lots \t of \n white\u00a0space\u3000 \u200b ",
    "A" * 80,
    "12345 3.14 don't we'll I'm they've IT'S 'S",
    "<|startoftext|> x <|endoftext|> y <|ENDOFTEXT|>",
    "&amp; <b> \x00\x1c a \x85 b",
    "! !! !!!! a!",
    "",
]


def test_golden_ids() -> None:
    encoded = tokens.tokenizer().encode(["a photo of sks dog", ""])
    assert encoded.ids[0][:8] == [49406, 320, 1125, 539, 48136, 1929, 49407, 49407]
    assert encoded.ids[1] == [49406] + [49407] * 76
    assert encoded.cut == [0, 0]
    assert tokens.tokenizer().count(["a photo of sks dog", "", "a, b"]) == [5, 0, 3]


def test_the_vocabulary_is_openais() -> None:
    assert len(tokens.vocabulary()) == 49408
    assert hashlib.sha256(tokens.merges_text().encode()).hexdigest() == "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"
    assert (tokens.vocabulary()["<|startoftext|>"], tokens.vocabulary()["<|endoftext|>"]) == (tokens.START, tokens.END)
    assert tokens.vocabulary()["dog</w>"] == 1929


@pytest.mark.parametrize(("length", "ids"), [(None, 77), (75, 77), (150, 152), (225, 227)])
def test_lengths_and_padding(length: int | None, ids: int) -> None:
    encoded = tokens.tokenizer().encode(["cat " * 300, "cat"], length, pad=0)
    assert [len(row) for row in encoded.ids] == [ids, ids]
    assert encoded.ids[0] == [tokens.START] + [2368] * (ids - 2) + [tokens.END]
    assert encoded.ids[1] == [tokens.START, 2368, tokens.END] + [0] * (ids - 3)
    assert encoded.cut == [300 - (ids - 2), 0]


def test_another_length_is_refused() -> None:
    with pytest.raises(UserError, match="100 tokens"):
        tokens.tokenizer().encode(["a"], 100)


def test_ids_equal_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokens.write_folder(tmp_path, "<|endoftext|>")
    theirs = transformers.CLIPTokenizer.from_pretrained(str(tmp_path))
    draw = random.Random(1)
    letters = "abc ABC'123,._-!?()<|>stm é日🎉\t\u3000ßİ"
    texts = TEXTS + ["".join(draw.choice(letters) for _ in range(draw.randint(0, 40))) for _ in range(1000)]
    expected = theirs(texts, truncation=True, padding="max_length", max_length=77).input_ids
    assert tokens.tokenizer().encode(texts).ids == expected


def test_trap_2_the_tokenizer_folder_has_every_versions_files(tmp_path: Path) -> None:
    """transformers 5 saves only tokenizer.json, which 4.x cannot read: we write the four older files, which all read."""
    transformers = pytest.importorskip("transformers")
    for pad, pad_id in (("<|endoftext|>", 49407), ("!", 0)):
        tokens.write_folder(tmp_path / str(pad_id), pad)
        names = {path.name for path in (tmp_path / str(pad_id)).iterdir()}
        assert names == {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"}
        theirs = transformers.CLIPTokenizer.from_pretrained(str(tmp_path / str(pad_id)))
        assert (theirs.pad_token_id, theirs.model_max_length) == (pad_id, 77)
        assert theirs("a photo of sks dog").input_ids == [49406, 320, 1125, 539, 48136, 1929, 49407]


def test_trap_3_our_tokenizer_has_the_whole_vocabulary(tmp_path: Path) -> None:
    """`CLIPTokenizer(vocab_file=..., merges_file=...)` silently has two tokens in transformers 5; ours is built without it."""
    transformers = pytest.importorskip("transformers")
    tokens.write_folder(tmp_path, "<|endoftext|>")
    theirs = transformers.CLIPTokenizer(vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"))
    assert len(theirs) == len(tokens.vocabulary()) == 49408
    assert theirs("sks").input_ids[1:-1] == tokens.tokenizer().body(["sks"])[0] == [48136]
