"""The page: its rows and columns, what is escaped, and the record that outlives a run."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.generation import page
from engine.generation.page import Record, Row
from engine.generation.prompt import Shot

CAT = Shot("a <b>cat</b> & co", 'say "no"', 512, 768, 42, 28, 7.5, "euler_a", True, 0.8)
DOG = Shot("一只狗", "", 512, 512, 7, 30, 7.0, "ddim", False, 1.0)


def filled() -> Record:
    record = page.add(Record("run <1>"), Row("", 500, 2, 0.125, False), {CAT: "samples/my run#_000500_00_42.png", DOG: "samples/b.png"})
    record = page.add(record, Row("", 250, 1, None, False), {CAT: "samples/c.png"})
    return page.add(record, Row("", 0, None, None, True), {CAT: "samples/base.png", DOG: "samples/base2.png"})


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def test_base_row_first_then_steps_in_order() -> None:
    record = filled()
    assert [(row.base, row.step) for row in record.rows] == [(True, 0), (False, 250), (False, 500)]
    text = page.render(record)
    assert text.index("base model") < text.index("</small>250") < text.index("</small>500")


def test_cells_point_to_pictures_relatively() -> None:
    tags = Tags(page.render(filled()))
    sources = [image["src"] for image in tags.all("img") if "src" in image]
    assert sources == ["samples/base.png", "samples/base2.png", "samples/c.png", "samples/my%20run%23_000500_00_42.png", "samples/b.png"]
    assert all(image["loading"] == "lazy" and image["width"] == "512" for image in tags.all("img") if "src" in image)
    assert page.render(filled()).count("not made") == 1


def test_header_has_prompt_and_settings() -> None:
    text = page.render(filled())
    settings = ("seed 42", "512×768", "28 steps", "CFG 7.5", "Karras", "strength 0.8")
    for word in ("a &lt;b&gt;cat&lt;/b&gt; &amp; co", "say &quot;no&quot;", "一只狗", *settings):
        assert word in text
    assert "epoch 2" in text and "loss 0.1250" in text and "run &lt;1&gt;" in text
    assert "<b>cat" not in text


def test_nothing_is_fetched_from_elsewhere() -> None:
    text = page.render(filled())
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    tags = Tags(text)
    assert not tags.all("link") and all("src" not in script for script in tags.all("script"))


def test_record_keeps_rows_of_earlier_runs(tmp_path: Path) -> None:
    assert page.load(tmp_path, "new") == Record("new")
    page.write(tmp_path, filled())
    again = page.load(tmp_path, "ignored")
    assert again == filled()
    page.write(tmp_path, page.add(again, Row("", 500, 2, 0.1, False), {DOG: "samples/new.png"}))
    last = page.load(tmp_path, "")
    assert last.rows[-1].cells == {0: "samples/my run#_000500_00_42.png", 1: "samples/new.png"} and last.rows[-1].loss == 0.1
    assert (tmp_path / page.PAGE).read_text(encoding="utf-8").count("samples/new.png") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([page.PAGE, page.RECORD])


def test_a_changed_prompt_is_a_new_column() -> None:
    other = dataclasses.replace(CAT, seed=43)
    record = page.add(filled(), Row("", 750, 3, None, False), {other: "samples/d.png"})
    assert record.columns == (CAT, DOG, other) and record.rows[-1].cells == {2: "samples/d.png"}


def test_a_row_a_model_and_file() -> None:
    record = page.add(filled(), Row("", 9, None, None, True), {DOG: "x.png"})
    assert [row.base for row in record.rows].count(True) == 1 and record.rows[0].cells == {0: "samples/base.png", 1: "x.png"}
    record = page.add(record, Row("my <lora>", 500, 2, None, False), {DOG: "y.png"})
    assert len(record.rows) == 4 and "my &lt;lora&gt;, step 500" in page.render(record)
    record = page.add(record, Row("other base", 0, None, None, True), {DOG: "z.png"})
    assert [row.name for row in record.rows if row.base] == ["", "other base"] and "other base, base model" in page.render(record)


def test_a_page_of_files_names_them_and_not_their_steps() -> None:
    base, known = Row("v1-5", 0, None, None, True, {0: "compare/a.png"}), Row("b/<x>", 1200, 3, None, False, {0: "compare/b.png"})
    unknown = Row("y", 0, None, None, False, {0: "compare/c.png"})
    text = page.render(Record("run", (CAT,), (base, known, unknown)), page.FILES)
    heads = re.findall(r'<th scope="row"><div class="step name">(.*?)</div><div class="about">(.*?)</div>', text)
    assert heads == [("base model", "v1-5<br>strength 0<br>原始模型"), ("b/<wbr>&lt;x&gt;", "step 1,200<br>epoch 3"), ("y", "")]
    assert 'data-label="b/&lt;x&gt;, step 1200"' in text and 'data-label="y"' in text
    assert "1 prompt × 2 LoRAs + the base model" in text and '<th scope="col">LoRA</th>' in text
    assert "1 prompt × the base model" in page.render(Record("run", (CAT,), (base,)), page.FILES)
    assert "2 prompts × 2 steps + the base model" in page.render(filled()) and '<th scope="col">step</th>' in page.render(filled())


@pytest.mark.parametrize("text", ["", "{}", '{"version": 99}', json.dumps({"version": 1, "title": "", "columns": [{"x": 1}], "rows": []})])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / page.RECORD).write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        page.load(tmp_path, "run")
    assert page.RECORD in caught.value.where
