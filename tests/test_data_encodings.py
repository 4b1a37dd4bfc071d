"""Caption encodings: UTF-8 with and without its mark, UTF-16, five legacy encodings, and bytes that are no text."""

from __future__ import annotations

import random
import zlib

import pytest

from engine.data.encodings import NotText, decode

LEGACY = {
    "gbk": ["女孩", "1女孩, 白色头发, 蓝色眼睛, 站在草地上", "红色的杯子，放在桌子上", "白毛，猫耳", "一只猫", "联通"],
    "cp932": ["少女", "白い猫が座っている", "1girl, 青い目, 笑顔", "カメラ", "赤いリンゴ、テーブル"],
    "big5": ["一個女孩在草地上", "紅色的杯子，放在桌子上", "白色頭髮, 藍色眼睛"],
    "cp1251": ["девушка, белые волосы", "Кошка сидит на столе", "кот"],
    "cp1252": ["café", "fenêtre, élégant, garçon", "it’s a dog", "“quoted” dog – grass", "mädchen, grün, Straße", "coração, São Paulo"],
}


@pytest.mark.parametrize(("encoding", "text"), [(encoding, text) for encoding, texts in LEGACY.items() for text in texts])
def test_legacy_encodings_are_recognised(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize("text", ["", "a dog", "猫, dog", "café naïve", "кот", "π é", "👧 1girl"])
def test_utf8_with_and_without_mark(text: str) -> None:
    assert decode(text.encode("utf-8")) == (text, "utf-8")
    assert decode(text.encode("utf-8-sig")) == (text, "utf-8")


@pytest.mark.parametrize("text", ["a dog", "猫, dog", "é"])
def test_utf16_with_and_without_mark(text: str) -> None:
    assert decode(text.encode("utf-16")) == (text, "utf-16")
    for encoding in ("utf-16-le", "utf-16-be"):
        assert decode(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize("text", ["a dog", "猫, dog 👧", "é"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_a_mark_says_the_encoding(text: str, encoding: str, order: str) -> None:
    assert decode(f"\ufeff{text}".encode(f"{encoding}-{order}")) == (text, encoding)


def test_line_ends_and_old_end_marks_are_cleaned() -> None:
    assert decode(b"a\r\nb\rc\x1a") == ("a\nb\nc", "utf-8")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\0",
        b"\xff\xfea",
        random.Random(0).randbytes(400),
        zlib.compress(b"caption" * 90),
        "一只白色的猫坐在桌子上".encode()[:-1] + b" and",
    ],
)
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(NotText):
        decode(raw)
