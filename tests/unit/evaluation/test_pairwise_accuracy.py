import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from assent.evaluation.accuracy import (
    accuracy_by_margin,
    calibration,
    expected_calibration_error,
    pairwise_accuracy,
)


def test_by_hand() -> None:
    got = pairwise_accuracy(
        chosen=[2.0, 1.0, 0.0, 3.0, 1.0],
        rejected=[1.0, 2.0, 0.0, 0.0, 0.0],
        ties=[False, False, False, False, True],
        true_chosen=[1.0, 1.0, 0.0, 1.0, 0.0],
        true_rejected=[0.0, 0.0, 1.0, 0.0, 0.0],
    )
    assert got.accuracy == (1 + 0 + 0.5 + 1) / 4
    assert got.ceiling == 3 / 4
    assert (got.n, got.ties) == (4, 1)
    assert got.low < got.accuracy < got.high
    assert got.by_margin == ()


def test_interval_is_close_to_wilson_for_independent_pairs() -> None:
    gaps = [1.0] * 300 + [-1.0] * 100
    got = pairwise_accuracy(gaps, [0.0] * 400)
    expected = binomtest(300, 400).proportion_ci(method="wilson")
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_pairs_of_one_prompt_count_together() -> None:
    gaps = ([1.0] * 6 + [-1.0] * 6) * 10
    alone = pairwise_accuracy(gaps, [0.0] * 120)
    together = pairwise_accuracy(gaps, [0.0] * 120, prompt_ids=[i // 6 for i in range(120)])
    assert together.accuracy == alone.accuracy
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_calibration_by_hand() -> None:
    # 0.6 twice (right, wrong), 0.9 (right): sides turned to the preferred one
    logit = lambda p: math.log(p / (1 - p))  # noqa: E731
    table = calibration([logit(0.6), -logit(0.6), logit(0.9)], bins=5)
    assert [(row.n, row.observed) for row in table] == [(2, 0.5), (1, 1.0)]
    assert [row.predicted for row in table] == pytest.approx([0.6, 0.9])
    assert expected_calibration_error(table) == pytest.approx((2 * 0.1 + 1 * 0.1) / 3)


def test_a_model_that_knows_its_odds_is_calibrated() -> None:
    rng = np.random.Generator(np.random.Philox(5))
    gap = rng.normal(scale=2, size=20000)
    gap = np.where(rng.random(20000) < expit(gap), gap, -gap)  # the winner is called chosen
    assert expected_calibration_error(calibration(gap)) < 0.01
    assert expected_calibration_error(calibration(3 * gap)) > 0.05  # overconfident


def test_extreme_gaps_stay_in_the_last_bin() -> None:
    assert [(row.n, row.predicted) for row in calibration([1e6, 800.0])] == [(2, 1.0)]


def test_by_margin() -> None:
    correct, margin = [0, 1, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8]
    bins = accuracy_by_margin(correct, margin)
    assert [(b.low, b.high, b.accuracy, b.n) for b in bins] == [
        (1, 2, 0.5, 2),
        (3, 4, 0.5, 2),
        (5, 6, 1, 2),
        (7, 8, 1, 2),
    ]
    assert sum(b.n for b in accuracy_by_margin([1, 0, 1], [2.0, 2.0, 2.0])) == 3


def test_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="all are ties"):
        pairwise_accuracy([1.0], [0.0], ties=[True])
    with pytest.raises(ValueError):
        pairwise_accuracy([], [])
    with pytest.raises(ValueError, match="length"):
        pairwise_accuracy([1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="both sides"):
        pairwise_accuracy([1.0], [0.0], true_chosen=[1.0])
    with pytest.raises(ValueError, match="finite"):
        pairwise_accuracy([math.nan], [0.0])
