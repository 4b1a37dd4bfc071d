"""Files of settings: where every key stands, and what is said of a file that cannot be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config.toml_lines import KeyPath, json_lines, read_file, toml_lines
from engine.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_plain_and_dotted_keys() -> None:
    text = '\n# a comment\na = 1\n  b.c = 2\nb.d.e = 3\n\'quoted key\' = 4\n"e\\u0061 . [x]" = 5\nsite."google.com" = true\n'
    assert toml_lines(text) == {
        ("a",): 3,
        ("b",): 4,
        ("b", "c"): 4,
        ("b", "d"): 5,
        ("b", "d", "e"): 5,
        ("quoted key",): 6,
        ("ea . [x]",): 7,
        ("site",): 8,
        ("site", "google.com"): 8,
    }


def test_tables_and_arrays_of_tables() -> None:
    text = """[general]
x = 1
[[datasets]]
resolution = 512
  [[datasets.subsets]]
  image_dir = 'a'
  [[datasets.subsets]]
  image_dir = 'b'
  [datasets.subsets.extra]
  z = 0
[[datasets]]
[[datasets.subsets]]
image_dir = 'c'
[ a . "b" ]
c = 1
"""
    lines = toml_lines(text)
    assert lines[("datasets",)] == 3
    assert lines[("datasets", 0)] == 3
    assert lines[("datasets", 0, "subsets", 0, "image_dir")] == 6
    assert lines[("datasets", 0, "subsets", 1)] == 7
    assert lines[("datasets", 0, "subsets", 1, "image_dir")] == 8
    assert lines[("datasets", 0, "subsets", 1, "extra", "z")] == 10
    assert lines[("datasets", 1)] == 11
    assert lines[("datasets", 1, "subsets", 0, "image_dir")] == 13
    assert lines[("a", "b", "c")] == 15


def test_inline_tables_lists_and_strings() -> None:
    text = "\n".join(
        [
            'one = { a = 1, b.c = "x # not a comment", d = [ { e = 2 } ] }  # {',
            "two = [  # a comment with ]",
            "  \"]\", 'it',",
            '  """',
            "text = 1",
            '""",  # three',
            "  1979-05-27 07:32:00,",
            "]",
            'three = """a ""quoted"" \\""" end"""',
            "four = " + "'" * 3,
            "[not.a.table]",
            "'" * 3,
            'five = ""',
            "six = ''",
        ]
    )
    assert set(tomllib.loads(text)) == {"one", "two", "three", "four", "five", "six"}
    lines = toml_lines(text)
    tops = {str(path[0]): line for path, line in lines.items() if len(path) == 1}
    assert tops == {"one": 1, "two": 2, "three": 9, "four": 10, "five": 13, "six": 14}
    assert lines[("one", "b", "c")] == lines[("one", "d", 0, "e")] == 1
    assert [lines[("two", number)] for number in range(4)] == [3, 3, 4, 7]


def test_windows_line_ends_and_a_last_line_without_one() -> None:
    assert toml_lines("a = 1\r\n\r\n[b]\r\nc = 'x'") == {("a",): 1, ("b",): 3, ("b", "c"): 4}


def paths(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    """Every key path in a parsed file."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path for key, inner in items for path in [(*at, key), *paths(inner, (*at, key))]}


def test_every_key_of_every_shipped_file_has_a_line(root: Path) -> None:
    for file in sorted(root.glob("configs/*.toml")):
        values, lines = read_file(str(file))
        assert paths(values) == set(lines), file.name
        text = file.read_text(encoding="utf-8").splitlines()
        assert all(str(path[-1]) in text[line - 1] for path, line in lines.items() if isinstance(path[-1], str)), file.name


def test_json_has_lines_too() -> None:
    text = '{"general": {"a": true},\n "datasets": [\n  {"x\\"y": [1,\n 2], "subsets": [{"image_dir": "b:c"}]}]}'
    assert paths(json.loads(text)) == set(json_lines(text))
    assert json_lines(text)[("datasets", 0, 'x"y', 1)] == 4
    assert json_lines(text)[("datasets", 0, "subsets", 0, "image_dir")] == 4


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'a = 1\npath = "C:\\models\\x.safetensors"\n', "here.toml:2: this is not valid TOML: unescaped '\\' in a string\n"
         "hint: inside \"...\" a backslash begins an escape: write paths as 'C:\\folder' or \"C:/folder\""),
        (b"flag = True\n", "here.toml:1: this is not valid TOML: invalid value\n"
         "hint: write true or false in small letters; leave the key out for none"),
        (b"\nname = miku\n", "here.toml:2: this is not valid TOML: invalid value\nhint: texts and paths stand between quotes"),
        (b"a = 1\na = 2\n", "here.toml:2: this is not valid TOML: cannot overwrite a value\n"
         "hint: a key or table stands twice in this file; keep one"),
        (b"a\n", "here.toml:1: this is not valid TOML: expected '=' after a key in a key/value pair\nhint: see toml.io for the rules"),
        ("name = '初音'\n".encode("gbk"), "here.toml:1: this file is not in UTF-8 (byte 0xb3)\n"
         "hint: save it as UTF-8; editors call the old encodings ANSI, GBK, Big5, Shift-JIS"),
        ("a = 1".encode("utf-16"), "here.toml: this file is in UTF-16\nhint: save it as UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.toml").write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_file("here.toml")
    assert str(caught.value) == said


def test_a_missing_file_and_wrong_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^gone\.toml: this file does not exist\nhint: check the path; it counts from the current folder$"):
        read_file("gone.toml")
    Path("bad.json").write_text('{"a": 1,\n}', encoding="utf-8")
    with pytest.raises(UserError, match=r"^bad\.json:2: this is not valid JSON: "):
        read_file("bad.json")
    Path("list.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match=r"^list\.json: a file of settings is an object, `\{\.\.\.\}`$"):
        read_file("list.json")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "設定 a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_file(str(path)) == ({"a": 1}, {("a",): 1})
