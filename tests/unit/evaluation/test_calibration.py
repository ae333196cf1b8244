"""Calibration and bias of scores against data whose answer is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from assent.evaluation.calibration import (
    accuracy_by,
    accuracy_by_number,
    as_rows,
    fit_temperature,
    length_bias,
    noise_ceiling,
    repeated_agreement,
)


@pytest.mark.parametrize("hot", [0.25, 1.0, 3.0])
def test_the_temperature_that_the_scores_were_multiplied_by_is_found(hot: float):
    draw = np.random.default_rng(0)
    true = draw.normal(0.0, 1.5, 20000)
    gaps = np.where(draw.random(20000) < expit(true), true, -true) * hot
    found = fit_temperature(gaps, [i // 4 for i in range(20000)])
    assert found.temperature == pytest.approx(hot, rel=0.05)
    assert found.error_fitted < 0.02
    assert found.loss_fitted <= found.loss + 1e-3
    if hot != 1.0:
        assert found.error > 4 * found.error_fitted


def test_scores_that_are_always_right_get_the_coldest_temperature():
    assert fit_temperature([1.0, 2.0, 3.0], ["a", "b", "c"]).temperature == pytest.approx(0.01, rel=0.01)
    with pytest.raises(ValueError, match="one at least"):
        fit_temperature([], [])


def test_length_bias_is_the_slope_put_in():
    draw = np.random.default_rng(1)
    chosen, rejected = draw.integers(10, 300, 4000), draw.integers(10, 300, 4000)
    longer = np.log2(chosen + 1.0) - np.log2(rejected + 1.0)
    found = length_bias(0.7 * longer + draw.normal(0.0, 0.1, 4000), chosen, rejected)
    assert found is not None
    assert found.slope == pytest.approx(0.7, abs=0.01)
    assert found.explained > 0.95
    assert found.longer_preferred > 0.95
    assert found.longer_chosen == pytest.approx(0.5, abs=0.03)
    assert length_bias([1.0, -1.0], [5, 5], [5, 5]) is None


def test_length_bias_by_hand():
    found = length_bias([1.0, -1.0, 0.0, 9.0], [3, 1, 3, 7], [1, 3, 1, 7])
    assert found is not None
    # one doubling each: the longer preferred, preferred, undecided; the pair of one length is left out
    assert (found.longer_preferred, found.longer_chosen, found.slope, found.n) == pytest.approx(
        (5 / 6, 2 / 3, 2 / 3, 3)
    )


def test_accuracy_by_group():
    gaps = [1.0, -1.0, 0.0, 2.0, 1.0]
    rows = accuracy_by(gaps, ["a", "a", "b", "b", "c"], ["p", "q", "p", "q", "p"], least=2)
    assert [(row.name, row.accuracy, row.n) for row in rows] == [("a", 0.5, 2), ("b", 0.75, 2)]
    assert all(row.low < row.accuracy < row.high for row in rows)
    assert as_rows({"criterion": rows, "annotator": rows[:1]}).keys() == {"criterion"}
    numbered = accuracy_by_number(gaps, [0.0, 1.0, 2.0, 3.0, 10.0], list("pqrst"), parts=2, unit=" m")
    assert [(row.name, row.accuracy) for row in numbered] == [
        ("0 to 2 m", pytest.approx(0.5)),
        ("3 to 10 m", pytest.approx(1.0)),
    ]


def test_the_ceiling_that_the_agreement_of_annotators_sets():
    assert noise_ceiling(0.8**2 + 0.2**2) == pytest.approx(0.8)
    assert noise_ceiling(0.4) == 0.5
    pairs = [("p", "x", "y", "ann"), ("p", "x", "y", "bo"), ("p", "y", "x", "cy"), ("q", "x", "y", "ann")]
    assert repeated_agreement(pairs) == (pytest.approx(1 / 3), 3)
    assert repeated_agreement(pairs[2:]) is None
