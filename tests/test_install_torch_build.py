"""Which build of torch a machine gets, card by card and driver by driver."""

from __future__ import annotations

import pytest

from engine.doctor import Card
from engine.errors import UserError
from install.torch_build import choose


def card(name: str, driver: str, major: int, minor: int) -> Card:
    return Card(f"NVIDIA GeForce {name}", driver, 8192, (major, minor))


@pytest.mark.parametrize(
    ("cards", "build", "why"),
    [
        ([card("RTX 5090", "580.88", 12, 0)], "cu130", "capability 12.0"),
        ([card("RTX 3060", "581.29", 8, 6)], "cu130", "driver 581.29"),
        ([card("GTX 1660", "580", 7, 5)], "cu130", "capability 7.5"),
        ([card("RTX 3060", "566.03", 8, 6)], "cu126", "580 or newer it would be cu130"),
        ([card("GTX 1080", "581.29", 6, 1)], "cu126", "capability 6.1"),
        ([card("GTX 970", "528.49", 5, 2)], "cu126", "capability 5.2"),
        ([card("GTX 770", "470.05", 3, 0)], "cpu", "too old for this torch"),
        ([card("RTX 3060", "581.29", 8, 6), card("GTX 1080", "581.29", 6, 1)], "cu126", "GTX 1080"),
        ([card("GTX 1080", "581.29", 6, 1), card("RTX 5090", "581.29", 12, 0)], "cu130", "GTX 1080 is not used"),
        ([card("GT 710", "581.29", 3, 5), card("RTX 4070", "581.29", 8, 9)], "cu130", "RTX 4070"),
        ([], "cpu", "no NVIDIA card"),
    ],
)
def test_the_build_follows_the_cards(cards: list[Card], build: str, why: str) -> None:
    choice = choose("auto", cards, cards[0].driver if cards else None)
    assert choice.build == build and why in choice.why


@pytest.mark.parametrize(
    ("cards", "driver", "adapters", "words"),
    [
        ([card("RTX 5090", "572.16", 12, 0)], "572.16", [], "RTX 5090 needs the NVIDIA driver 580"),
        ([card("GTX 1080", "472.12", 6, 1)], "472.12", [], "528.33 is the oldest that works"),
        ([], "391.35", [], "driver 391.35 is too old"),
        ([], None, ["Intel(R) UHD Graphics", "NVIDIA GeForce RTX 4060"], "its driver's nvidia-smi gives no answer"),
    ],
)
def test_a_driver_that_must_be_updated_first(cards: list[Card], driver: str | None, adapters: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        choose("auto", cards, driver, adapters)
    assert words in caught.value.message and "install the newest NVIDIA driver" in caught.value.hint


def test_the_users_word_counts() -> None:
    assert choose("cpu", [card("RTX 5090", "572.16", 12, 0)], "572.16").build == "cpu"
    assert choose("cu126", [], None).build == "cu126"
    with pytest.raises(UserError, match="torch_build is `cuda`"):
        choose("cuda", [], None)
