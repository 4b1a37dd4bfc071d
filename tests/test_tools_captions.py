"""`captions`: each edit as a table, the rules' files, and an action from its words to the files: shown, asked for, written, undone."""

from __future__ import annotations

import doctest
import os
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from engine.config.schema_data import DataConfig
from engine.errors import UserError
from engine.tools.captions import counts, edits, journal, plan, rules
from engine.tools.captions.actions import ACTIONS
from engine.tools.captions.plan import Request
from engine.tools.captions.read import read
from engine.tools.captions.run import run
from engine.tools.captions.talk import Talk

Write = Callable[..., Path]


def test_doctests() -> None:
    assert [doctest.testmod(module).failed for module in (edits, counts, plan)] == [0, 0, 0]


EDITS: list[tuple[Callable[[str], str], str, str]] = [
    (lambda text: edits.add(text, ["x"]), "a, b\n", "a, b, x\n"),
    (lambda text: edits.add(text, ["x"], front=True), "a, X", "a, X"),
    (lambda text: edits.add(text, ["x", "y"], front=True), "a", "x, y, a"),
    (lambda text: edits.add(text, ["x"]), "A dog runs over a field.", "A dog runs over a field. x"),
    (lambda text: edits.add(text, ["x"]), "a, b\n\nc", "a, b, x\n\nc, x"),
    (lambda text: edits.add(text, ["x"]), "  \n", "x"),
    (lambda text: edits.to_front(text, ["miku"], add_missing=True, spelled=True), "1girl, MIKU, hat", "miku, 1girl, hat"),
    (lambda text: edits.to_front(text, ["a_b"], add_missing=True, spelled=True), "a girl sits on a chair.", "a_b, a girl sits on a chair."),
    (lambda text: edits.to_front(text, ["zzz"]), "1girl,hat", "1girl,hat"),
    (lambda text: edits.remove(text, ["HAT"]), "1girl,  hat, Hat", "1girl"),
    (lambda text: edits.remove(text, ["hair"]), "long hair, hair", "long hair"),
    (lambda text: edits.remove(text, ["king george v (uniform)"]), r"King_George_V_\(uniform\), hat", "hat"),
    (lambda text: edits.remove(text, ["girl"]), "a girl, standing in the rain with an umbrella and a dog.",
     "a girl, standing in the rain with an umbrella and a dog."),
    (lambda text: edits.replace(text, "blue", ""), "blue hair, blue", "hair"),
    (lambda text: edits.replace(text, "x", "y"), "a,b", "a,b"),
    (lambda text: edits.replace_pattern(text, re.compile(r"(\w+) hair"), r"\1-haired"), "red hair, hat", "red-haired, hat"),
    (lambda text: edits.deduplicate(text), "a,b", "a,b"),
    (lambda text: edits.deduplicate(text), "a, long_hair, a, long hair", "a, long_hair"),
    (lambda text: edits.sort(text), "b, a, ", "a, b"),
    (lambda text: edits.sort(text, 2), "z, y, b, a", "z, y, a, b"),
    (lambda text: edits.half_width(text), "1girl，hat、 cat ；dog", "1girl, hat, cat; dog"),
    (lambda text: edits.half_width(text), "一个女孩（微笑）。", "一个女孩 (微笑)."),
    (lambda text: edits.merge(text, "girl", ["girls", "woman"]), "1girl, girls, Woman, girl", "1girl, girl"),
    (lambda text: edits.merge(text, "girl", ["woman"]), "A womanly woman walks her dog.", "A womanly girl walks her dog."),
    (lambda text: edits.keep(text, lambda tag: False), "a, b\nc", ""),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "before", "after"), EDITS, ids=[str(number) for number in range(len(EDITS))])
def test_an_edit(edit: Callable[[str], str], before: str, after: str) -> None:
    assert edit(before) == after
    assert edit(after) == after, "twice is as once"


@pytest.mark.parametrize(
    ("line", "prose"),
    [
        ("1girl, solo, long hair, looking at viewer, hand on another's shoulder", False),
        ("a cat", False),
        ("King George V (uniform)", False),
        ("1girl, :), :d, !?, ^_^", False),
        ("a woman with red hair standing in front of a wall", True),
        ("A girl, smiling at you.", True),
        ("一个女孩站在草地上微笑。", True),
        ("一个女孩, 微笑, 草地", False),
        ("sks, a girl is sitting on a chair in the garden", True),
        ("", False),
    ],
)
def test_prose_is_told_from_tags(line: str, prose: bool) -> None:
    assert edits.is_sentence(line) is prose


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("there is a anime girl girl with arafed hair - in the field .", "a girl with hair in the field."),
        ("a picture of a dog , running over the wet  grass ..", "a dog, running over the wet grass."),
        ("long_hair, rating:safe, ^_^, long hair, highres, 1girl", "long hair, ^_^, 1girl"),
        ("a half-closed t-shirt is hanging on the wall over there", "a half-closed t-shirt is hanging on the wall over there"),
        ("1girl, hat", "1girl, hat"),
    ],
)
def test_the_bundled_rules_clean(before: str, after: str) -> None:
    found = rules.cleaning()
    assert edits.clean(before, found.sentences, found.drops, underscores=found.underscores) == after


def test_no_edit_but_those_that_replace_loses_letters() -> None:
    """What `loses` asks by: adding, moving and sorting never lose text, whatever the caption is."""
    rng = random.Random(5)
    pieces = ["1girl", "long_hair", "Hat", "a_b", "x (y)", "a girl sits on a chair.", " ", "", "猫"]
    for _ in range(300):
        text = "\n".join(rng.choice([", ", ","]).join(rng.sample(pieces, rng.randint(0, 5))) for _ in range(rng.randint(1, 2)))
        for done in (edits.add(text, ["new"]), edits.add(text, ["new"], front=True), edits.to_front(text, ["Hat"]), edits.sort(text)):
            assert not edits.loses(text, done), (text, done)


# --- the files that may be edited


def test_no_tag_stands_in_two_groups() -> None:
    found = rules.groups()
    assert [group.name for group in found.groups][:8] == ["angle", "pose", "hair", "eyes", "expression", "clothes", "background", "count"]
    listed = [tag for group in found.groups for tag in group.tags]
    assert len(listed) == len(set(listed)) > 1000


@pytest.mark.parametrize(
    ("tag", "group"),
    [
        ("from_above", "angle"), ("looking at viewer", "pose"), ("holding sword", "pose"), ("Blue Hair", "hair"), ("red eyes", "eyes"),
        ("hair ornament", "clothes"), ("open jacket", "clothes"), ("open mouth", "expression"), ("grey background", "background"),
        ("1girl", "count"), ("cat ears", "body"), ("momo", ""), ("closed eyes", "eyes"), ("hair over one eye", "hair"),
    ],
)  # fmt: skip
def test_the_group_of_a_tag(tag: str, group: str) -> None:
    found = rules.groups().of(tag)
    assert (found.name if found else "") == group


@pytest.mark.parametrize(
    ("reader", "text", "said"),
    [
        (rules.groups, "[a]\ntags = 5\n", ":1: `tags` is no list of texts"),
        (rules.groups, "\n[a]\ntag = []\n", ":2: there is no key `tag`"),
        (rules.groups, "a = 1\n", "`a` is no group"),
        (rules.groups, "[a\n", ":1"),
        (rules.cleaning, "[sentences]\nreplace = [['a']]\n", "not two texts"),
        (rules.cleaning, "[sentences]\nreplace = [['(', '']]\n", "no regular expression"),
        (rules.cleaning, "[sentences]\nreplace = [['a', '\\1']]\n", "cannot be put in the place"),
        (rules.cleaning, "[sentence]\n", "there is no key `sentence`"),
        (rules.cleaning, "tags = 1\n", "no table"),
        (rules.cleaning, "[sentences]\nreplace = 3\n", ":2: `replace` is no list of rules"),
        (rules.cleaning, "[tags]\nunderscores_to_spaces = 'no'\n", ":2: `underscores_to_spaces` is neither true nor false"),
        (rules.groups, "[a]\nin_trigger = 'yes'\n", "`in_trigger` is neither true nor false"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(reader: Callable[[Path], object], text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        reader(path)
    assert said in str(caught.value) and "mine.toml" in str(caught.value)


# --- actions, from their words to the files


class Screen:
    """A person at a screen: what was said and asked, and the answers given in their order."""

    def __init__(self, *answers: str, yes: bool = False, terminal: bool = True) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.answers = list(answers)
        self.talk = Talk(self.said.append, yes=yes, read=self._read, terminal=lambda: terminal)

    def _read(self, question: str) -> str:
        self.asked.append(question)
        return self.answers.pop(0)

    @property
    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing takes most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of concepts; `write` fills it."""
    return tmp_path / "pics"


def write(folder: Path, captions: Mapping[str, str | bytes | None], name: str = "4_miku 1girl") -> Path:
    """A concept with these captions by picture; None: a picture without one."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for stem, text in captions.items():
        (place / f"{stem}.png").write_bytes(b"")  # no picture is opened
        if text is not None:
            (place / f"{stem}.txt").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return place


def texts(place: Path) -> dict[str, str]:
    return {path.stem: path.read_bytes().decode("utf-8") for path in sorted(place.glob("*.txt"))}


def do(folder: Path, screen: Screen, action: str, *words: str, encoding: str = "", dry_run: bool = False, **more: object) -> int:
    scores = more.pop("scores", None)
    request = Request(action, words, **more)  # type: ignore[arg-type]
    data = DataConfig(train_data_dir=str(folder))
    return run(data, request, screen.talk, encoding=encoding, dry_run=dry_run, scores=scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "words", "more", "after", "asks"),
    [
        ("add", ("night",), {}, ["1girl, hat, long_hair, night", "hat, woman, 1girl, hat, night"], False),
        ("add", ("sks",), {"front": True}, ["sks, 1girl, hat, long_hair", "sks, hat, woman, 1girl, hat"], False),
        ("front", ("hat",), {}, ["hat, 1girl, long_hair", "hat, woman, 1girl"], True),
        ("remove", ("hat",), {}, ["1girl, long_hair", "woman, 1girl"], True),
        ("remove", (r"\d.*", "h.t"), {"regex": True}, ["long_hair", "woman"], True),
        ("replace", ("hat", "cap"), {}, ["1girl, cap, long_hair", "cap, woman, 1girl, cap"], True),
        ("replace", (r"(\d)girl", r"\1 girl"), {"regex": True}, ["1 girl, hat, long_hair", "hat, woman, 1 girl, hat"], True),
        ("rare", (), {}, ["1girl, hat", "hat, 1girl, hat"], True),
        ("merge", (), {}, ["1girl, hat, long_hair", "hat, girl, 1girl"], True),
        ("merge", ("cap", "hat"), {}, ["1girl, cap, long_hair", "cap, woman, 1girl"], True),
        ("deduplicate", (), {}, ["1girl, hat, long_hair", "hat, woman, 1girl"], True),
        ("sort", (), {}, ["1girl, hat, long_hair", "1girl, hat, hat, woman"], False),
        ("clean", (), {}, ["1girl, hat, long hair", "hat, woman, 1girl"], True),
        ("width", (), {}, ["1girl, hat, long_hair", "hat, woman, 1girl, hat"], False),
    ],
)
def test_an_action_is_shown_asked_for_and_undone(
    folder: Path, action: str, words: tuple[str, ...], more: dict[str, object], after: list[str], asks: bool
) -> None:
    place = write(folder, {"a": "1girl, hat, long_hair", "b 😀": "hat, woman, 1girl, hat", "c": None})
    before = texts(place)
    assert do(folder, Screen(), action, *words, dry_run=True, **more) == 0 and texts(place) == before
    changes = list(before.values()) != after
    if asks:
        with pytest.raises(UserError, match="no terminal to ask in"):
            do(folder, Screen(terminal=False), action, *words, **more)
        refused = Screen("n")
        assert do(folder, refused, action, *words, **more) == 1 and len(refused.asked) == 1
        assert texts(place) == before and not journal.place(place).exists()
    screen = Screen(yes=True)
    assert do(folder, screen, action, *words, **more) == 0 and not screen.asked
    assert list(texts(place).values()) == after
    assert ("+ " in screen.text) is changes and ("nothing to change" in screen.text) is not changes
    back = Screen(yes=True)
    assert do(folder, back, "undo") == 0 and texts(place) == before
    assert ("is undone in" in back.text) is changes


@pytest.mark.parametrize("action", ["add", "remove", "front", "merge"])
def test_tags_may_be_given_as_captions_have_them(folder: Path, action: str) -> None:
    """`hat, cap` in one word is two tags, as in a caption."""
    place, after = write(folder, {"a": "1girl, cap, hat"}), []
    for words in (("hat", "cap", "sun"), ("hat, cap,sun",)):
        do(folder, Screen(yes=True), action, *words)
        after.append(texts(place))
        do(folder, Screen(yes=True), "undo")
    assert after[0] == after[1] != texts(place)


def test_a_folder_in_the_place_of_a_word_gets_its_option_named(folder: Path) -> None:
    write(folder, {"a": "1girl"})
    with pytest.raises(UserError) as caught:
        do(folder, Screen(), "count", str(folder))
    assert caught.value.hint == f'write: captions count --train_data_dir "{folder}"'
    with pytest.raises(UserError, match="one of these is a folder") as caught:
        do(folder, Screen(), "add", "night", str(folder))
    assert caught.value.hint == f'write: captions add TAG ... --train_data_dir "{folder}"'


def test_what_a_trigger_shall_learn_is_told_where_no_caption_has_it(folder: Path) -> None:
    place = write(folder, {"a": "hat, cap, day"})
    screen = Screen(yes=True)
    do(folder, screen, "method", "5", trigger="sks", learn=("hats", "cap"))
    assert "no caption has what the trigger shall learn: hats;" in screen.text
    do(folder, Screen(yes=True), "undo")
    screen = Screen(yes=True)
    do(folder, screen, "method", "5", trigger="sks", learn=("hat,cap",))
    assert texts(place) == {"a": "sks, day"} and "no caption has" not in screen.text


def test_every_action_is_in_the_table_above_or_tested_below() -> None:
    assert {action.name for action in ACTIONS} == {
        *("add", "remove", "replace", "front", "rare", "merge", "deduplicate", "sort", "clean", "width"),
        *("count", "pairs", "propose", "method", "undo"),
    }


@pytest.mark.parametrize(
    ("action", "words", "said"),
    [
        ("ad", ("x",), "Did you mean `add`?"),
        ("add", (), "write: captions add TAG ..."),
        ("replace", ("a", "b", "c"), "write: captions replace OLD"),
        ("undo", ("a",), "write: captions undo"),
        ("replace", ("a", "(b"), ""),
        ("method", ("6",), "there is no method `6`"),
        ("replace", ("", "a"), "write: captions replace OLD [NEW]"),
        ("merge", ("a",), "write: captions merge NAME OTHER"),
        ("count", (), "there is no concept `mikku`"),
    ],
)
def test_wrong_words_are_told(folder: Path, action: str, words: tuple[str, ...], said: str) -> None:
    write(folder, {"a": "x"})
    if said:
        with pytest.raises(UserError) as caught:
            do(folder, Screen(), action, *words, concept="mikku" if action == "count" else "")
        assert said in str(caught.value)
    with pytest.raises(UserError, match=r"no regular expression|cannot be put"):
        do(folder, Screen(), "replace", *(("(", "x") if len(words) % 2 else ("x", r"\1")), regex=True)


def test_an_empty_folder_is_told(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(UserError, match="no pictures"):
        do(folder, Screen(), "count")


def test_where_captions_are_lacking_that_is_said(folder: Path) -> None:
    place = write(folder, {"a": None, "b": None})
    screen = Screen()
    assert do(folder, screen, "add", "x") == 0
    assert "2 pictures without a caption" in screen.text and "nothing to change in 0 captions" in screen.text and not texts(place)


def test_prose_is_left_by_edits_of_tags_and_that_is_said(folder: Path) -> None:
    place = write(folder, {"a": "a girl sits on a chair, in the garden.", "b": "garden, hat"})
    screen = Screen(yes=True)
    do(folder, screen, "remove", "hat")
    assert "1 caption made of sentences" in screen.text and texts(place)["b"] == "garden"


@pytest.mark.parametrize("prose", ["a girl stands in the rain.", "一个女孩站在雨里。"])
def test_prose_with_a_tag_behind_it_is_prose(folder: Path, prose: str) -> None:
    place = write(folder, {"a": prose, "b": "hat"})
    do(folder, Screen(), "add", "night")
    do(folder, Screen(yes=True), "rare")
    assert texts(place) == {"a": f"{prose} night", "b": ""}
    screen = Screen(yes=True)
    do(folder, screen, "method", "4", name="sks")
    assert texts(place)["a"] == f"sks, {prose} night" and "1 caption made of sentences, whose words stay" in screen.text


def test_a_caption_that_becomes_empty_is_told(folder: Path) -> None:
    write(folder, {"a": "hat", "b": "hat, x"})
    screen = Screen()
    do(folder, screen, "remove", "hat", dry_run=True)
    assert "1 caption would be empty" in screen.text


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_captions_in_marked_encodings_become_utf8(folder: Path, encoding: str, end: str) -> None:
    place = write(folder, {"n" * 196: f"1girl, 猫耳{end}".encode(encoding), "other": "é, ü".encode(encoding)})
    before = {path.name: path.read_bytes() for path in place.glob("*.txt")}
    assert do(folder, Screen(), "replace", "zzz", "y") == 0
    assert {path.name: path.read_bytes() for path in place.glob("*.txt")} == before  # unchanged text keeps its bytes
    do(folder, Screen(), "add", "x", concept="miku")
    assert (place / f"{'n' * 196}.txt").read_bytes() == f"1girl, 猫耳, x{end}".encode()
    do(folder, Screen(yes=True), "undo", everything=True)
    assert {path.name: path.read_bytes() for path in place.glob("*.txt")} == before


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("gbk", "1女孩, 白色头发, 蓝色眼睛"), ("cp932", "白い猫が座っている"), ("cp1252", "fenêtre, élégant"), ("big5", "一個女孩在草地上")],
)
def test_a_guessed_encoding_needs_a_yes_of_its_own(folder: Path, encoding: str, text: str) -> None:
    place = write(folder, {"a": text.encode(encoding), "b": "1girl"})
    before = {path.name: path.read_bytes() for path in place.glob("*.txt")}
    for screen, said in (
        (Screen(yes=True, terminal=False), "no terminal"),
        (Screen("n", yes=True), "the encoding of captions is not known"),
    ):
        with pytest.raises(UserError, match=said):
            do(folder, screen, "add", "x")
        assert encoding in screen.text and text in screen.text
        assert {path.name: path.read_bytes() for path in place.glob("*.txt")} == before
    assert do(folder, Screen(terminal=False), "count") == 0  # to look needs no yes
    assert do(folder, Screen(terminal=False), "add", "x", dry_run=True) == 0
    agreed = Screen("y")
    assert do(folder, agreed, "add", "x") == 0 and texts(place) == {"a": f"{text}, x", "b": "1girl, x"}
    do(folder, Screen(yes=True), "undo")
    assert do(folder, Screen(terminal=False), "add", "x", encoding=encoding) == 0 and texts(place)["a"] == f"{text}, x"


def test_an_encoding_that_is_wrong_or_unknown_is_told(folder: Path) -> None:
    place = write(folder, {"a": "1女孩, 白色头发, 蓝色眼睛".encode("gbk")})
    with pytest.raises(UserError, match="not in ascii: byte 1"):
        do(folder, Screen(), "add", "x", encoding="ascii")
    with pytest.raises(UserError, match="not in idna: "):
        do(folder, Screen(), "add", "x", encoding="idna")
    for name in ("gkb", "base64", "undefined"):
        with pytest.raises(UserError, match=f"there is no encoding `{name}`"):
            do(folder, Screen(), "add", "x", encoding=name)
    (place / "a.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(UserError, match="not text"):
        do(folder, Screen(), "add", "x")
    (place / "a.txt").write_bytes(b"a, b" * (1 << 18) + b"!")
    with pytest.raises(UserError, match="larger than 1 MiB"):
        read(place / "a.txt")


# --- counting


def test_frequencies_pairs_and_what_is_constant(folder: Path) -> None:
    place = write(
        folder,
        {str(n): f"miku, 1girl, aqua_hair, {'Aqua Eyes' if n else 'aqua eyes'}, {'sitting' if n % 2 else 'standing'}" for n in range(5)},
    )
    write(folder, {"z": "dog"}, "3_other")
    screen = Screen()
    do(folder, screen, "count", concept="4_MIKU 1girl")
    assert f"{place}: 5 captions, 6 tags" in screen.text and "100%  Aqua Eyes" in screen.text and "dog" not in screen.text
    screen = Screen()
    do(folder, screen, "pairs", "sitting", concept="miku", limit=2)
    assert re.findall(r"(\d)  (.+)  \+  (.+)", screen.text)[0] == ("2", "1girl", "sitting") and "and 2 more" in screen.text
    screen = Screen()
    do(folder, screen, "propose", concept="miku 1girl")
    assert '--learn "Aqua Eyes" "aqua_hair"' in screen.text
    (constant,) = re.findall(r"(?s)they stay, so that.*?\(1\)\n(.*?)\n", screen.text)
    assert "1girl  (count)" in constant and "miku" not in screen.text.split("constant, and of the concept")[1].split("\n  python")[0]


# --- the five methods

CHARACTER = {"a": "1girl, Miku, aqua hair, hat, sitting, from above", "b": "aqua hair, standing, smile, 1girl", "c": None}


def test_method_1_sets_the_captions_aside(folder: Path) -> None:
    place = write(folder, CHARACTER)
    (place / "a.txt.aside").write_text("older", encoding="utf-8")
    screen = Screen("y")
    assert do(folder, screen, "method", "1") == 0
    assert not texts(place) and "`miku 1girl`" in screen.text
    assert (place / "a.txt.aside").read_text(encoding="utf-8") == "older" and (place / "a.txt.aside2").is_file()
    do(folder, Screen(yes=True), "undo")
    assert texts(place) == {stem: text for stem, text in CHARACTER.items() if text} and not (place / "b.txt.aside").exists()


@pytest.mark.parametrize("number", ["2", "3"])
def test_methods_2_and_3_put_the_name_in_front(folder: Path, number: str) -> None:
    place = write(folder, CHARACTER)
    screen = Screen(yes=True)
    do(folder, screen, "method", number)
    assert texts(place) == {"a": "miku, 1girl, aqua hair, hat, sitting, from above", "b": "miku, aqua hair, standing, smile, 1girl"}
    assert "keep_tokens = 1" in screen.text
    again = Screen()
    do(folder, again, "method", number)
    assert "nothing to change" in again.text and "keep_tokens = 1" in again.text
    do(folder, Screen(yes=True), "method", number, name="Hatsune (x), Miku")
    assert texts(place)["b"] == "Hatsune (x), Miku, aqua hair, standing, smile, 1girl"


def test_a_name_with_underscores_is_found_with_spaces(folder: Path) -> None:
    place = write(folder, {"a": "1girl, kamisato ayaka", "b": "1girl"}, "4_Kamisato_Ayaka")
    do(folder, Screen(yes=True), "method", "2")
    assert texts(place) == {"a": "Kamisato_Ayaka, 1girl", "b": "Kamisato_Ayaka, 1girl"}


def test_method_4_keeps_name_angle_and_pose(folder: Path) -> None:
    place = write(folder, CHARACTER)
    do(folder, Screen(yes=True), "method", "4")
    assert texts(place) == {"a": "miku, sitting, from above", "b": "miku, standing"}


def test_method_5_deletes_what_the_trigger_learns(folder: Path) -> None:
    place = write(folder, CHARACTER)
    screen = Screen(yes=True)
    do(folder, screen, "method", "5", trigger="King George V (uniform)", learn=("hair", "hat"))
    assert texts(place) == {
        "a": "King George V (uniform), 1girl, Miku, sitting, from above",
        "b": "King George V (uniform), standing, smile, 1girl",
    }
    assert r"write King George V \(uniform\)" in screen.text and "only a label" in screen.text


def test_method_5_asks_for_trigger_and_constants(folder: Path) -> None:
    place = write(folder, CHARACTER)
    with pytest.raises(UserError, match="no terminal"):
        do(folder, Screen(terminal=False), "method", "5")
    for answers in (("zeppy", "n"), ("",)):
        with pytest.raises(UserError):
            do(folder, Screen(*answers), "method", "5")
    screen = Screen("zeppy", "y", "y")
    assert do(folder, screen, "method", "5") == 0
    assert "Shall the trigger learn 1 tag" in screen.asked[1] and "aqua hair" in screen.text
    assert texts(place)["b"] == "zeppy, standing, smile, 1girl"


def test_without_a_terminal_method_5_says_what_to_write(folder: Path) -> None:
    write(folder, {"a": "hat, day", "b": "hat, night"})
    with pytest.raises(UserError, match="name the trigger: --trigger"):
        do(folder, Screen(terminal=False), "method", "5")
    for dry_run in (True, False):
        with pytest.raises(UserError, match="name what the trigger shall learn: --learn .*--yes takes these"):
            do(folder, Screen(terminal=False), "method", "5", trigger="sks", dry_run=dry_run)


def test_a_method_is_for_one_concept(folder: Path) -> None:
    first, second = write(folder, CHARACTER), write(folder, {"x": "dog"}, "3_dog")
    with pytest.raises(UserError, match="for one concept"):
        do(folder, Screen(yes=True), "method", "2")
    do(folder, Screen(yes=True), "method", "2", concept="dog")
    assert texts(second) == {"x": "dog"} and texts(first)["a"] == CHARACTER["a"]


def test_a_folder_without_a_text_needs_a_name(folder: Path) -> None:
    place = write(folder, {"a": "dog"}, "7")
    for number in "124":
        with pytest.raises(UserError):
            do(place, Screen(yes=True), "method", number)
    do(place, Screen(yes=True), "method", "2", name="rex")
    assert texts(place) == {"a": "rex, dog"}


# --- a tagger's scores, undoing


def test_add_by_a_taggers_scores(folder: Path) -> None:
    place = write(folder, {"a": "x", "b": "x", "c": "x"})

    def scores(pictures: Sequence[Path]) -> dict[Path, dict[str, float]]:
        assert [picture.name for picture in pictures] == ["a.png", "b.png", "c.png"]
        return {place / "a.png": {"long_hair": 0.3}, place / "b.png": {"long hair": 0.1, "hat": 1.0}}

    screen = Screen()
    do(folder, screen, "add", "long hair", "hat", min_score=0.2, scores=scores)
    assert texts(place) == {"a": "x, long hair", "b": "x, hat", "c": "x"} and "1 caption left" in screen.text
    assert "no picture has a score" not in screen.text
    do(folder, screen, "add", "long hairs", "hat", min_score=0.2, scores=scores)
    assert ": long hairs: no picture has a score for it" in screen.text


def test_undo_over_several_folders_names_what_it_leaves(folder: Path) -> None:
    one, two = write(folder, CHARACTER), write(folder, {"x": "dog"}, "3_dog")
    do(folder, Screen(), "add", "first")
    do(folder, Screen(), "add", "second")
    (two / "x.txt").write_text("mine", encoding="utf-8")
    screen = Screen("y")
    assert do(folder, screen, "undo") == 1
    assert f"left, since it was changed by something else since then: {two / 'x.txt'}" in screen.text
    assert texts(one)["b"].endswith("1girl, first") and texts(two) == {"x": "mine"}
    assert do(folder, Screen(yes=True), "undo", everything=True) == 1 and texts(one)["b"] == CHARACTER["b"]
    assert "nothing to undo" in (last := Screen(), do(folder, last, "undo", concept="miku"))[0].text


def test_undo_of_one_concept_leaves_the_others(folder: Path) -> None:
    one, two = write(folder, CHARACTER), write(folder, {"x": "dog"}, "3_dog")
    do(folder, Screen(), "add", "first")
    do(folder, Screen(yes=True), "undo", concept="dog")
    assert texts(two) == {"x": "dog"} and texts(one)["b"].endswith("first")
    do(folder, Screen(yes=True), "undo")
    assert texts(one)["b"] == CHARACTER["b"]


def test_a_long_diff_is_cut_but_for_a_dry_run(folder: Path) -> None:
    write(folder, {f"{n:02}": "x" for n in range(30)})
    looked, done = Screen(), Screen()
    do(folder, looked, "add", "y", dry_run=True)
    do(folder, done, "add", "y")
    assert looked.text.count("+ x, y") == 30 and done.text.count("+ x, y") == 20 and "and 10 files more" in done.text


def test_a_copy_of_the_users_own_is_read_instead(tmp_path: Path) -> None:
    (tmp_path / "tag_groups.toml").write_text("[a]\ntags = ['x']\n", encoding="utf-8")
    assert [group.name for group in rules.groups(tmp_path / "tag_groups.toml").groups] == ["a"]
    (tmp_path / "my_tag_groups.toml").write_text("[b]\ntags = ['x']\npatterns = ['* y']\nin_trigger = true\n", encoding="utf-8")
    mine = rules.groups(tmp_path / "tag_groups.toml")
    assert [group.name for group in mine.groups] == ["b"] and mine.groups[0].in_trigger and mine.of("Z_y") is mine.groups[0]
