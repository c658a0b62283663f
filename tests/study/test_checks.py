import numpy as np
import pytest
import torch

from lib.study import checks


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_right_numbers_lie_inside_as_often_as_their_standard_errors_say():
    """Of each kind of row, 1,000 draws of 400: the deviation in standard errors is standard normal."""
    x, y = 2 + 3 * normals(1000, 400), normals(1000, 400, seed=1)
    for row in (lambda a, b: checks.mean("", a, 2, 3), lambda a, b: checks.spread("", a, 3),
                lambda a, b: checks.uncorrelated("", a, b)):
        rows = [row(a, b) for a, b in zip(x, y, strict=True)]
        scaled = np.array([float((measured - expected) / error) for _, expected, measured, error in rows])
        assert abs(scaled.mean()) < 4 / 1000**0.5
        assert scaled.std() == pytest.approx(1, abs=4 / 2000**0.5)


def test_a_wrong_number_is_outside_and_a_right_one_inside():
    x = 2 + 3 * normals(20_000)
    table = checks.side_by_side([*checks.moments("x", x, 2, 3), *checks.moments("x", x, 2.2, 3.1)])
    assert table["inside"].tolist() == ["yes", "yes", "NO", "NO"]
    assert table["quantity"].tolist() == ["x: mean", "x: standard deviation"] * 2
    assert table["tolerance"][0] == pytest.approx(4 * 3 / 20_000**0.5)
