"""What messages are made with: numbers of things, and rows that settings name."""

from __future__ import annotations

import doctest
from dataclasses import dataclass

import pytest

from engine import errors
from engine.errors import UserError, find_row, row_named


@dataclass(frozen=True)
class Plain:
    name: str


@dataclass(frozen=True)
class Aliased:
    name: str
    aliases: tuple[str, ...] = ()


ROWS = (Plain("AdamW"), Aliased("lora", ("networks.lora",)), Aliased("none"))


def test_doctests() -> None:
    assert doctest.testmod(errors).failed == 0


@pytest.mark.parametrize(("name", "row"), [("AdamW", 0), ("adamw", 0), ("Networks.LoRA", 1), ("lora", 1)])
def test_a_row_is_found_by_any_of_its_names_in_any_capitals(name: str, row: int) -> None:
    assert row_named(ROWS, name) is find_row(ROWS, name, "thing", "key") is ROWS[row]


@pytest.mark.parametrize(
    ("name", "hint"), [("networks.lroa", "Did you mean `networks.lora`?"), ("", "choose one of AdamW, lora, networks.lora, none")]
)
def test_a_name_that_no_row_has_is_told_with_the_nearest(name: str, hint: str) -> None:
    assert row_named(ROWS, name) is None
    with pytest.raises(UserError, match=f"there is no thing `{name}`") as caught:
        find_row(ROWS, name, "thing", "some_key")
    assert (caught.value.hint, caught.value.where) == (hint, "some_key")
