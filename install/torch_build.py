"""Which of torch's three builds a machine needs. The compute capability of its cards and their driver decide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.doctor import CUDA_12_DRIVER, CUDA_13_DRIVER, Card
from engine.errors import UserError
from engine.locks import BUILDS

CUDA_13_SINCE = (7, 5)  # GTX 16, RTX 20
CUDA_12_SINCE, CUDA_12_UNTIL = (5, 0), (9, 0)  # GTX 900 to RTX 40
_OVERRIDE = "set torch_build at the top of Install.cmd to cu130, cu126 or cpu to decide yourself"
_UPDATE = "install the newest NVIDIA driver, restart the PC and run Install.cmd again"


@dataclass(frozen=True)
class Choice:
    """A build, and why it was chosen."""

    build: str
    why: str


def choose(wanted: str, cards: Sequence[Card], driver: str | None, adapters: Sequence[str] = ()) -> Choice:
    """The build for these cards.

    `wanted` is "auto" or a build; `driver` is the NVIDIA driver's version, None where there is none; `adapters` are the display adapters
    that Windows lists. Raises UserError where a driver must be installed or updated first, or `wanted` is no build.
    """
    if wanted in BUILDS:
        return Choice(wanted, "as torch_build says")
    if wanted != "auto":
        raise UserError(f"torch_build is `{wanted}`", f"choose auto, {', '.join(BUILDS)}", where="Install.cmd")
    if not cards:
        return _without_cards(driver, adapters)
    usable = [card for card in cards if card.capability >= CUDA_12_SINCE]
    if not usable:
        return Choice("cpu", f"{cards[0].name} is too old for this torch (capability {_dotted(cards[0])}, 5.0 is needed)")
    oldest, newest = min(usable, key=_capability), max(usable, key=_capability)
    if oldest.capability < CUDA_13_SINCE and newest.capability <= CUDA_12_UNTIL:
        return _cuda_12(oldest)
    if newest.capability >= CUDA_13_SINCE and oldest.capability < CUDA_13_SINCE:  # no build serves both: the newer card counts
        return _cuda_13(newest, f"; {oldest.name} is not used")
    return _cuda_13(newest, "")


def _without_cards(driver: str | None, adapters: Sequence[str]) -> Choice:
    if driver:
        raise UserError(f"the NVIDIA driver {driver} is too old: it does not tell the card's capability", f"{_UPDATE}; or {_OVERRIDE}")
    nvidia = [name for name in adapters if re.search(r"\bNVIDIA\b", name)]
    if nvidia:
        raise UserError(f"there is an NVIDIA card ({nvidia[0]}), but its driver's nvidia-smi gives no answer", f"{_UPDATE}; or {_OVERRIDE}")
    return Choice("cpu", "no NVIDIA card was found")


def _cuda_13(card: Card, more: str) -> Choice:
    if _at_least(card.driver, CUDA_13_DRIVER):
        return Choice("cu130", f"{card.name}, capability {_dotted(card)}, driver {card.driver}{more}")
    if card.capability > CUDA_12_UNTIL:
        message = f"{card.name} needs the NVIDIA driver {CUDA_13_DRIVER} or newer, and {card.driver} is installed"
        raise UserError(message, _UPDATE)
    return _cuda_12(card)


def _cuda_12(card: Card) -> Choice:
    if _at_least(card.driver, CUDA_12_DRIVER):
        newer = card.capability >= CUDA_13_SINCE
        told = f"; with a driver of {CUDA_13_DRIVER} or newer it would be cu130" if newer else ""
        return Choice("cu126", f"{card.name}, capability {_dotted(card)}, driver {card.driver}{told}")
    raise UserError(f"the NVIDIA driver {card.driver} is too old for {card.name}: {CUDA_12_DRIVER} is the oldest that works", _UPDATE)


def _capability(card: Card) -> tuple[int, int]:
    return card.capability


def _dotted(card: Card) -> str:
    return f"{card.capability[0]}.{card.capability[1]}"


def _at_least(version: str, oldest: str) -> bool:
    """Whether a driver's version is that or newer.

    >>> _at_least("580.88", "580"), _at_least("528.24", "528.33")
    (True, False)
    """
    return _numbers(version) >= _numbers(oldest)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
