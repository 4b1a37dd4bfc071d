"""Captions: the documented order of sd-scripts, and where ours differs on purpose."""

from __future__ import annotations

import doctest
import random
from dataclasses import replace

import pytest

from engine.data import captions
from engine.data.captions import CaptionOptions, fixed_text, render, split, varies


def fixed(*values: float) -> random.Random:
    """Draws the given numbers, and never shuffles."""
    rng = random.Random(0)
    rng.random = iter(values).__next__  # type: ignore[method-assign]
    rng.shuffle = lambda x: None  # type: ignore[method-assign,assignment]
    return rng


def test_doctests() -> None:
    assert doctest.testmod(captions).failed == 0


def test_text_is_left_alone_without_options() -> None:
    assert render("a,b ,  c", CaptionOptions(), random.Random(0)) == "a,b ,  c"
    assert render("", CaptionOptions(), random.Random(0)) == ""
    assert render("\n \n", CaptionOptions(), random.Random(0)) == ""


def test_first_line_with_text_counts_without_wildcards() -> None:
    assert render("\n first line \nsecond", CaptionOptions(), random.Random(0)) == "first line"


def test_prefix_and_suffix_take_part_in_splitting() -> None:
    options = CaptionOptions(caption_prefix="p1, p2,", caption_suffix=", end", shuffle_caption=True, keep_tokens=2)
    assert render("a", options, fixed(0.9)) == "p1, p2, a, end"


def test_dropout_ends_everything() -> None:
    options = CaptionOptions(caption_prefix="p", caption_dropout_rate=0.5)
    assert render("a", options, fixed(0.49)) == ""
    assert render("a", options, fixed(0.51)) == "p a"


@pytest.mark.parametrize(("epoch", "expected"), [(1, "a"), (2, "a"), (3, ""), (6, "")])
def test_dropout_every_n_epochs_counts_from_one(epoch: int, expected: str) -> None:
    assert render("a", CaptionOptions(caption_dropout_every_n_epochs=3), random.Random(0), epoch=epoch) == expected


def test_wildcards_draw_lines_and_members() -> None:
    options = CaptionOptions(enable_wildcard=True, caption_prefix="p")
    drawn = {render("a {x|y}\n\nb {{z}}", options, random.Random(seed)) for seed in range(40)}
    assert drawn == {"p a x", "p a y", "p b {z}"}
    assert render("a {x|y}", CaptionOptions(), random.Random(0)) == "a {x|y}"


def test_keep_tokens_separator_divides_into_three() -> None:
    options = CaptionOptions(keep_tokens_separator="|||", shuffle_caption=True)
    drawn = {render("x, y ||| a, b, , c ||| last", options, random.Random(seed)) for seed in range(60)}
    assert all(text.startswith("x, y, ") and text.endswith(", last") for text in drawn)
    assert len(drawn) == 6


def test_keep_tokens_separator_is_stripped_even_when_nothing_moves() -> None:
    options = CaptionOptions(keep_tokens_separator="|||")
    assert render("a, b ||| c, d", options, random.Random(0)) == "a, b, c, d"
    assert render("a ||| b ||| c ||| d", options, random.Random(0)) == "a, b, c, d"
    assert render("a, b,c", options, random.Random(0)) == "a, b,c"


def test_keep_tokens_keeps_empty_fixed_ones() -> None:
    assert split("a,, b, , c", CaptionOptions(keep_tokens=2)) == (["a", ""], ["b", "c"], [])
    assert split("a, b", CaptionOptions(keep_tokens=9)) == (["a", "b"], [], [])


@pytest.mark.parametrize(("step", "count"), [(0, 1), (24, 1), (50, 3), (75, 4), (99, 4), (100, 5), (5000, 5)])
def test_token_warmup_runs_before_shuffling(step: int, count: int) -> None:
    options = CaptionOptions(token_warmup_step=100, token_warmup_min=1)
    assert render("a, b, c, d, e", options, random.Random(0), step=step) == ", ".join("abcde"[:count])
    shuffled = render("a, b, c, d, e", replace(options, shuffle_caption=True), random.Random(step), step=step)
    assert set(shuffled.split(", ")) == set("abcde"[:count])


def test_token_warmup_as_a_fraction_of_the_run() -> None:
    options = CaptionOptions(token_warmup_step=0.5)
    assert render("a, b, c", options, random.Random(0), step=99, max_steps=200) == "a, b"
    assert render("a, b, c", options, random.Random(0), step=100, max_steps=200) == "a, b, c"


def test_tag_dropout_spares_fixed_tags() -> None:
    options = CaptionOptions(caption_tag_dropout_rate=0.5, keep_tokens=1)
    assert render("a, b, c, d", options, fixed(0.9, 0.4, 0.5, 0.6)) == "a, c, d"
    everything = CaptionOptions(caption_tag_dropout_rate=1.0, keep_tokens_separator="|||")
    assert render("a ||| b, c ||| d", everything, random.Random(0)) == "a, d"


def test_secondary_separator_moves_as_one_and_is_replaced_last() -> None:
    options = CaptionOptions(secondary_separator=";;;", shuffle_caption=True)
    drawn = {render("a;;;b, c", options, random.Random(seed)) for seed in range(20)}
    assert drawn == {"a,b, c", "c, a,b"}
    assert render("a;;;b, c", CaptionOptions(secondary_separator=";;;"), random.Random(0)) == "a,b, c"


def test_tags_are_joined_with_their_own_separator() -> None:
    options = CaptionOptions(caption_separator=";", shuffle_caption=True)
    assert {render("a; b", options, random.Random(seed)) for seed in range(20)} == {"a;b", "b;a"}


def test_same_generator_same_caption() -> None:
    options = CaptionOptions(shuffle_caption=True, caption_tag_dropout_rate=0.3, caption_dropout_rate=0.1)
    text = ", ".join(f"tag{number}" for number in range(20))
    assert [render(text, options, random.Random(s)) for s in range(9)] == [render(text, options, random.Random(s)) for s in range(9)]


@pytest.mark.parametrize(
    ("caption", "options", "expected"),
    [
        ("a, b", CaptionOptions(), False),
        ("a, b", CaptionOptions(shuffle_caption=True), True),
        ("a, b", CaptionOptions(shuffle_caption=True, keep_tokens=1), False),
        ("b, b", CaptionOptions(shuffle_caption=True), False),
        ("a ||| b ||| c", CaptionOptions(shuffle_caption=True, keep_tokens_separator="|||"), False),
        ("a", CaptionOptions(caption_dropout_rate=0.1), True),
        ("a", CaptionOptions(caption_dropout_every_n_epochs=2), True),
        ("a", CaptionOptions(caption_tag_dropout_rate=0.1), True),
        ("a", CaptionOptions(caption_tag_dropout_rate=0.1, keep_tokens=1), False),
        ("a", CaptionOptions(token_warmup_step=10), True),
        ("a {b|c}", CaptionOptions(), False),
        ("a {b|c}", CaptionOptions(enable_wildcard=True), True),
        ("a {{b}} {c}", CaptionOptions(enable_wildcard=True), False),
        ("a\nb", CaptionOptions(enable_wildcard=True), True),
        ("a\nb", CaptionOptions(), False),
    ],
)
def test_varies(caption: str, options: CaptionOptions, expected: bool) -> None:
    assert varies(caption, options) is expected
    drawn = {
        render(caption, options, random.Random(seed), epoch=epoch, step=step)
        for seed in range(60) for epoch in (1, 2) for step in (0, 1000)
    }  # fmt: skip
    assert expected or len(drawn) == 1


def test_fixed_text_is_what_is_drawn_where_nothing_varies() -> None:
    options = CaptionOptions(caption_prefix="p", keep_tokens_separator="|||", secondary_separator=";;;")
    caption = "a ||| b;;;c ||| d"
    assert fixed_text(caption, options) == render(caption, options, random.Random(0)) == "p a, b,c, d"
