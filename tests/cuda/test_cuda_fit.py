"""The coefficients of memory are told apart by the points they are fitted to."""

from __future__ import annotations

import pytest

from tests.cuda import fit
from tests.cuda.points import FLAGS
from tests.cuda.table import POINTS

ROWS = [(model, precision, method) for model in fit.FAMILIES for precision in FLAGS for method in fit.METHODS]


@pytest.mark.parametrize(("model", "precision", "method"), ROWS)
def test_the_points_tell_every_coefficient(model: str, precision: str, method: str) -> None:
    """With one rank alone a pixel's bytes and a pixel and rank's cannot be known; other ranks are then foretold several times too high."""
    untold = fit.untold(fit.read(POINTS), model, precision, method)
    assert not untold, f"measure more (`python -m tests.cuda.table`): these stay open: {', '.join(untold)}"
