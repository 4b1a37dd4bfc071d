"""What a person sees of a run: whole lines in any width, nothing replaced, and a log that may end without ending the run."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from engine.console import Meter, Reporter


def terminal(width: int) -> tuple[Reporter, io.StringIO]:
    """A reporter on a terminal of that width, and what it has received."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, soft_wrap=True, highlight=False, color_system=None)
    return Reporter(console), out


def test_a_lora_call_is_no_emoji() -> None:
    reporter, out = terminal(80)
    reporter.say("write <lora:dog:1> and [bold]:smile:[/bold]")
    assert out.getvalue() == "write <lora:dog:1> and [bold]:smile:[/bold]\n"


def test_lines_fold_between_words_and_paths_stay_whole() -> None:
    reporter, out = terminal(40)
    path = "/a/very/long/path/" + "x" * 40 + "/name.safetensors"
    reporter.say("pictures     three of them lie in a folder of yours")
    reporter.notice(f"the file {path} is kept")
    assert out.getvalue().splitlines() == [
        "pictures     three of them lie in a",
        "             folder of yours",
        "note: the file",
        f"      {path}",
        "      is kept",
    ]


@pytest.mark.parametrize("width", [80, 160])
def test_the_view_of_the_steps_fits_its_width(width: int) -> None:
    reporter, out = terminal(width)
    figures = "loss 0.1234  lr unet 1.00e-04  lr text_encoder 5.00e-05  1.23 s/it  VRAM 11.5 GB"
    meter = Meter(reporter, 16000, 100)
    with meter.shown(0):
        meter.step(10, 1)
        meter.figures(12345, 78, 1.23, figures)
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip() for line in out.getvalue().replace("\r", "\n").splitlines()]
    bar = next(line for line in shown if "12345/16000" in line)
    assert bar.startswith("epoch 78/100  step 12345/16000 ") and bar.endswith(" left 1:14:56") and len(bar) == width
    assert figures[: width - 1] in "\n".join(shown)


def test_figures_are_plain_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    meter = Meter(Reporter(Console(file=out, width=200)), 100, 4)
    with meter.shown(0):
        meter.step(9, 1)
        meter.figures(10, 1, 0.5, "loss 0.1000  lr 1.00e-04  2.00 it/s")
        meter.meanwhile("sample picture 1 of 2")
    assert out.getvalue() == "step 10/100  epoch 1/4  loss 0.1000  lr 1.00e-04  2.00 it/s  left 0:00:45\n"


def test_the_log_holds_what_was_said_before_it_and_for_it_alone(tmp_path: Path) -> None:
    reporter, out = terminal(80)
    reporter.say("first")
    reporter.log_to(tmp_path / "train.log")
    reporter.notice("second")
    reporter.record("third")
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [line[21:] for line in lines] == ["first", "note: second", "third"]
    assert out.getvalue() == "first\nnote: second\n"


def test_a_log_on_a_full_disk_is_given_up_with_a_word(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"\0" * (1 << 20))
    reporter, out = terminal(200)
    reporter.log_to(small_disk / "train.log")
    for _ in range(3):
        reporter.say("hello")
    assert out.getvalue().count("hello") == 3
    assert out.getvalue().count("cannot be written (No space left on device); the run continues without it") == 1
