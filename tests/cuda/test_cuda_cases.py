"""The engine's commands on a pretended card, with real values: that they run, what the host waits for, and that the formats agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
