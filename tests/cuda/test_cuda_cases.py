"""The engine's commands on a pretended card, with real values: that they run, what the host waits for, and that the formats agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gpu_check
from tests.cuda import cases
from tests.cuda.cases import CASES, Case

Answers = dict[str, dict]
FORMATS = ("sd-bf16", "sd-fp16", "sd-fp32")  # the same training in each


@pytest.fixture(scope="module")
def answers() -> Answers:
    """What each case gave, for the tests that compare them."""
    return {}


def run(case: Case, folder: Path, pretended: Callable[..., dict], answers: Answers) -> dict:
    """The case's answer; a case is run once."""
    if case.name not in answers:
        answers[case.name] = pretended(arguments=cases.arguments(case, folder), capability=case.capability)
    return answers[case.name]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=pytest.mark.slow if case.in_ci else pytest.mark.card) for case in CASES]
)
def test_a_command_runs_on_a_pretended_card(case: Case, tmp_path: Path, pretended: Callable[..., dict], answers: Answers) -> None:
    answer = run(case, tmp_path, pretended, answers)
    cases.check(case, tmp_path, answer)
    strangers = [place for place in answer["pageable"] if not place.startswith(cases.LOADING)]
    assert not strangers, "copied to the card from memory that is not pinned"
    assert not answer["calls"].get("synchronize")


@pytest.mark.slow
def test_the_three_formats_train_alike(tmp_path: Path, pretended: Callable[..., dict], answers: Answers) -> None:
    found = [run(case, tmp_path / case.name, pretended, answers) for case in CASES if case.name in FORMATS]
    cases.check_alike([answer["output"] for answer in found])


@pytest.mark.card
def test_all_that_a_card_is_checked_by_runs_on_a_pretended_one(root: Path, tmp_path: Path) -> None:
    """`benchmarks/gpu_check.sh`, every part of it, small."""
    out = tmp_path / "results.jsonl"
    command = ["bash", "benchmarks/gpu_check.sh", "--pretend", "--out", str(out)]
    ran = subprocess.run(command, cwd=root, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["part"] for line in lines] == [part.name for part in gpu_check.parts(pretend=True)]
    assert [(line["part"], line["output"]) for line in lines if line["status"] != "ok"] == []
    assert ran.returncode == 0, ran.stderr
    by_name = {line["part"]: line for line in lines}
    assert "a real training step ran on Pretended Card" in by_name["proof"]["output"]
    for name in ("step sd15 b1", "step sdxl b4"):
        assert by_name[name]["result"]["reads"] == {"forward": 0, "backward": 0, "optimizer": 0}
        assert by_name[name]["result"]["step_seconds"]["steps"] == 2
    assert " passed" in by_name["tests"]["output"]


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_stopped_and_kept(tmp_path: Path) -> None:
    """The file has all parts, and what a stopped one had said. Where no time is left, none is begun."""
    slow = gpu_check.Part("slow", ("timeit", "-n", "1", "-r", "1", "print('begun', flush=True); __import__('time').sleep(60)"), 8.0)
    quick = gpu_check.Part("quick", ("json.tool", "--help"), 60.0)
    out = tmp_path / "results.jsonl"
    assert gpu_check.run([quick, slow, quick], out, tmp_path, budget=600.0, pretend=False) == 1
    assert gpu_check.run([quick], out, tmp_path, budget=0.0, pretend=False) == 1
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    told = [("quick", "ok"), ("slow", "stopped"), ("quick", "ok"), ("quick", "stopped")]
    assert [(line["part"], line["status"]) for line in lines] == told
    assert "begun" in lines[1]["output"]
    assert not lines[3]["output"].startswith("usage")
