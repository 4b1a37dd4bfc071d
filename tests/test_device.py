"""Which device and format is chosen, what is said of it, and what choosing does to the process."""

from __future__ import annotations

import platform
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from engine import device, trials
from engine.errors import UserError

RTX, GTX_16, OLD = ("NVIDIA GeForce RTX 3060", (8, 6)), ("NVIDIA GeForce GTX 1660 Ti", (7, 5)), ("NVIDIA GeForce GTX 960", (5, 2))
RTX_20 = ("NVIDIA GeForce RTX 2060", (7, 5))
NO_KERNEL = "AcceleratorError: CUDA error: no kernel image is available for execution on the device"
Cards = Callable[..., list[object]]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    """`cards((name, capability), ..., faults={number: text}, fp16=text)`: a machine with these; gives what was asked of them."""
    for name in device._SIZES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    def make(*cards: tuple[str, tuple[int, int]], faults: dict[int, str] | None = None, fp16: str = "") -> list[object]:
        asked: list[object] = []

        def tried(card: torch.device) -> str:
            asked.append(str(card))
            return (faults or {}).get(card.index, "")

        def in_fp16(card: torch.device) -> str:
            asked.append(("fp16", str(card), torch.backends.cudnn.benchmark))
            return fp16

        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cards))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: cards[card.index][0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: cards[card.index][1])
        monkeypatch.setattr(torch.cuda, "set_device", lambda card: asked.append(f"set {card}"))
        monkeypatch.setattr(trials, "card", tried)
        monkeypatch.setattr(trials, "fp16", in_fp16)
        return asked

    return make


def test_the_first_card_that_works_is_taken(cards: Cards) -> None:
    asked = cards(OLD, RTX, RTX, faults={0: NO_KERNEL})
    compute, said = device.choose(None, None)
    assert (str(compute.device), compute.precision, compute.name) == ("cuda:1", "bf16", RTX[0])
    assert asked == ["cuda:0", "cuda:1", "set cuda:1"]  # the third is left alone
    assert said == [f"{OLD[0]} (cuda:0) does not work: {NO_KERNEL}: {RTX[0]} (cuda:1) is used instead"]
    assert device.choose("cuda", None)[0] == compute


def test_a_card_that_works_needs_no_word(cards: Cards) -> None:
    asked = cards(RTX, OLD, faults={1: NO_KERNEL})
    assert device.choose(None, None)[1] == []
    assert asked == ["cuda:0", "set cuda:0"]


@pytest.mark.parametrize(("wanted", "tried"), [("cuda:1", ["cuda:1"]), (None, ["cuda:0", "cuda:1"]), ("cuda", ["cuda:0", "cuda:1"])])
def test_where_no_card_works_the_cause_is_told(cards: Cards, wanted: str | None, tried: list[str]) -> None:
    asked = cards(OLD, OLD, faults={0: "RuntimeError: busy", 1: NO_KERNEL})
    with pytest.raises(UserError, match="GTX 960 .cuda:1. does not work: AcceleratorError: CUDA error: no kernel image") as caught:
        device.choose(wanted, None)
    assert asked == tried
    assert ("busy" in caught.value.message) is (len(tried) == 2)
    assert caught.value.where == "device" and "engine doctor" in caught.value.hint


def test_a_named_card_is_the_only_one_that_is_tried(cards: Cards) -> None:
    asked = cards(OLD, RTX, faults={0: NO_KERNEL})
    compute, said = device.choose("cuda:1", None)
    assert (str(compute.device), said, asked) == ("cuda:1", [], ["cuda:1", "set cuda:1"])


def test_a_card_that_is_not_there(cards: Cards) -> None:
    cards(RTX)
    with pytest.raises(UserError, match="there is no card number 1: this machine has 1"):
        device.choose("cuda:1", None)
    cards()
    with pytest.raises(UserError, match="no NVIDIA card is usable here, and `device = cuda:1` names one"):
        device.choose("cuda:1", None)


@pytest.mark.parametrize("name", device._SIZES)
@pytest.mark.parametrize("wanted", [None, "cpu", "cuda:0"])
def test_one_process_of_several_is_refused(cards: Cards, monkeypatch: pytest.MonkeyPatch, name: str, wanted: str | None) -> None:
    """Before any card is touched; whatever the launcher."""
    asked = cards(RTX, RTX)
    monkeypatch.setenv(name, "2")
    with pytest.raises(UserError, match="was started 2 times at once; training on several cards is not available yet") as caught:
        device.choose(wanted, None)
    assert (caught.value.where, asked) == (name, [])
    assert name in caught.value.hint and "cuda:1" in caught.value.hint


@pytest.mark.parametrize(
    "left_over",
    [
        {"LOCAL_RANK": "1"},
        {"RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "other", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": "many"},
        {"ACCELERATE_USE_CPU": "true"},
    ],
    ids=lambda it: " ".join(it),
)
@pytest.mark.parametrize("wanted", [None, "cpu"])
def test_what_a_launcher_left_behind_is_ignored(
    cards: Cards, monkeypatch: pytest.MonkeyPatch, left_over: dict[str, str], wanted: str | None
) -> None:
    cards(RTX)
    for name, value in left_over.items():
        monkeypatch.setenv(name, value)
    assert str(device.choose(wanted, None)[0].device) == (wanted or "cuda:0")
    assert not torch.distributed.is_initialized()


NAN = "ArithmeticError: the output of a trial block came out wrong"
SWITCHED = "fp16 does not work on {} ({}): fp32 is used instead{}; it takes twice the memory"


@pytest.mark.parametrize(
    ("card", "wanted", "fault", "precision", "benchmark", "said"),
    [
        (GTX_16, None, "", "fp16", True, []),
        (GTX_16, "fp16", "", "fp16", True, []),
        (GTX_16, None, NAN, "no", False, [SWITCHED.format(GTX_16[0], NAN, "")]),
        (GTX_16, "fp16", NAN, "no", False, [SWITCHED.format(GTX_16[0], NAN, ", though mixed_precision asks for fp16")]),
        (RTX_20, None, "", "fp16", False, []),
        (RTX_20, None, NAN, "no", False, [SWITCHED.format(RTX_20[0], NAN, "")]),
        (RTX, "fp16", "", "fp16", False, []),
    ],
)
def test_fp16_is_tried_wherever_it_is_used(
    cards: Cards, card: tuple[str, tuple[int, int]], wanted: str | None, fault: str, precision: str, benchmark: bool, said: list[str]
) -> None:
    """On Turing cards without tensor cores with cuDNN's search on, in the trial and after it."""
    asked = cards(card, fp16=fault)
    compute, told = device.choose(None, wanted)
    searched = card is GTX_16
    assert asked[-1] == ("fp16", "cuda:0", searched)
    assert (compute.precision, torch.backends.cudnn.benchmark, told) == (precision, benchmark, said)
    assert (compute.make_scaler() is not None) is (precision == "fp16")


def test_bf16_without_hardware_may_end_in_fp32(cards: Cards) -> None:
    cards(GTX_16, fp16=NAN)
    compute, said = device.choose(None, "bf16")
    assert compute.precision == "no"
    assert "no bf16 in hardware" in said[0] and said[1:] == [SWITCHED.format(GTX_16[0], NAN, "")]


@pytest.mark.parametrize(("card", "wanted"), [(RTX, None), (RTX, "bf16"), (GTX_16, "no")])
def test_other_formats_try_no_fp16(cards: Cards, card: tuple[str, tuple[int, int]], wanted: str | None) -> None:
    asked = cards(card)
    assert device.choose(None, wanted)[1] == []
    assert asked == ["cuda:0", "set cuda:0"]


@pytest.mark.parametrize(
    ("name", "has"),
    [
        *(
            (name, True)
            for name in ("NVIDIA GeForce RTX 2080 Ti", "Quadro RTX 4000", "NVIDIA TITAN RTX", "Tesla T4", "NVIDIA T4G", "Tesla T40")
        ),
        *(
            (name, False)
            for name in ("NVIDIA GeForce GTX 1630", "NVIDIA GeForce GTX 1650 SUPER", "NVIDIA GeForce MX450", "NVIDIA T400 4GB")
        ),
        *((name, False) for name in ("NVIDIA T1000 8GB", "NVIDIA T1200 Laptop GPU", "Quadro T2000", "NVIDIA T600")),
    ],
)
def test_turing_cards_with_tensor_cores(name: str, has: bool) -> None:
    assert device.has_tensor_cores(name) is has


@pytest.mark.parametrize(
    ("products", "words"), [(False, "matrix products are computed in full fp32"), (True, "matrix products are computed in TF32")]
)
def test_fp32_on_a_card_with_tf32_says_what_it_is(cards: Cards, monkeypatch: pytest.MonkeyPatch, products: bool, words: str) -> None:
    cards(RTX)
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=products))
    (told,) = device.choose(None, "no")[1]
    assert words in told and "convolutions in TF32" in told and 'mixed_precision = "bf16"' in told


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_on_the_cpu_a_large_buffer_is_not_fetched_from_the_system_each_time() -> None:
    import resource  # not on Windows

    def faults() -> int:
        torch.ones(64 << 20)  # 256 MiB, 65,536 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    device.choose("cpu", None)
    counts = [faults() for _ in range(10)]
    assert counts[-1] - counts[-2] < 1000
