"""The instruments themselves: the pretended card refuses what a card refuses, and both ways of counting count the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.slow


def test_a_mix_of_formats_or_devices_is_refused(pretended: Callable[..., dict]) -> None:
    answer = pretended(call="tests.cuda.probes:refusals")
    assert not answer["error"]
    said, one_format = answer["result"]["said"], answer["result"]["one_format"]
    assert sorted(said) == sorted(one_format), "tests/cuda/probes.py tries every operation of pretended._ONE_FORMAT"
    for name, refusals in said.items():
        assert not refusals["alike"], name
        assert "expected one scalar type" in refusals["format"], name
        assert "same device" in refusals["device"], name


def test_both_ways_of_counting_count_the_same(pretended: Callable[..., dict]) -> None:
    """The ledger of the pretended card, and the mode that also counts on a real one."""
    answer = pretended(call="tests.cuda.probes:reads")
    assert not answer["error"]
    assert answer["result"]["ledger"] == answer["result"]["count"]
    assert [name.partition(" at ")[0] for name in answer["result"]["ledger"]] == ["_local_scalar_dense", "copy to the CPU", "nonzero"]
