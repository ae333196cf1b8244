import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from assent.intervals import (
    bootstrap_estimate,
    clustered_interval,
    clustered_standard_error,
    clustered_variance,
    wilson_interval,
)


@pytest.mark.parametrize(("wins", "n"), [(0, 10), (10, 10), (3, 10), (81, 100), (499, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_equals_scipy(wins: int, n: int, confidence: float) -> None:
    expected = binomtest(wins, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(wins, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("count", "n"), [(6, 5), (-0.1, 5), (math.nan, 5), (0.5, 0), (0.5, math.nan)])
def test_wilson_refuses_nonsense(count: float, n: float) -> None:
    with pytest.raises(ValueError):
        wilson_interval(count, n)


def test_one_value_a_cluster_is_the_plain_standard_error() -> None:
    values = [0.1, 0.7, 0.4, 0.9, 0.2]
    plain = np.std(values, ddof=1) / math.sqrt(5)
    assert clustered_standard_error(values) == pytest.approx(plain)
    assert clustered_standard_error(values, list("abcde")) == pytest.approx(plain)
    # and scipy's t interval has the same half width
    ci = ttest_1samp(values, 0).confidence_interval(0.6827)
    assert ci.high > np.mean(values) + plain


def test_clustered_variance_by_hand() -> None:
    # clusters a: 1, 1; b: 0; mean 2/3; cluster sums of deviations 2/3 and -2/3; 2/1 * (4/9 + 4/9) / 9
    assert clustered_variance([1, 1, 0], ["a", "a", "b"]) == pytest.approx(2 * (8 / 9) / 9)


def test_copies_of_a_sample_do_not_narrow_the_interval() -> None:
    values, names = [1, 0, 1, 1, 0, 1, 1, 1], list(range(8))
    once = clustered_interval(values, names)
    thrice = clustered_interval(values * 3, names * 3)
    assert thrice == pytest.approx(once)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_values_that_all_agree_leave_width(value: float) -> None:
    rate, low, high = clustered_interval([value] * 40, [i // 4 for i in range(40)])
    assert rate == value
    assert low <= rate <= high
    assert high - low > 0.2  # ten prompts, however many samples
    assert (low == 0.0) == (value == 0.0)
    assert (high == 1.0) == (value == 1.0)


def test_one_cluster_counts_as_one_observation() -> None:
    assert clustered_interval([1, 1, 0, 1], ["p"] * 4) == pytest.approx((0.75, *wilson_interval(0.75, 1)))
    assert math.isnan(clustered_standard_error([1, 0], ["p", "p"]))


@pytest.mark.parametrize(
    ("values", "names"), [([], []), ([1.0], ["a", "b"]), ([2.0, 0.0], ["a", "b"]), ([math.nan, 0.0], ["a", "b"])]
)
def test_interval_refuses_nonsense(values: list[float], names: list[str]) -> None:
    with pytest.raises(ValueError):
        clustered_interval(values, names)


@pytest.mark.parametrize(
    ("prompts", "samples", "rate", "ties", "concentration"),
    [(100, 1, 0.5, 0.0, None), (100, 1, 0.8, 0.2, None), (100, 4, 0.8, 0.1, 2.0), (60, 4, 0.7, 0.3, 2.0)],
)
def test_coverage(prompts: int, samples: int, rate: float, ties: float, concentration: float | None) -> None:
    """2,000 repetitions of a known win rate; with a concentration the prompts' own rates are Beta distributed."""
    rng = np.random.Generator(np.random.Philox(7))
    names = np.repeat(np.arange(prompts), samples).tolist()
    truth, covered = rate * (1 - ties) + ties / 2, 0
    for _ in range(2000):
        of_prompt = np.full(prompts, rate)
        if concentration is not None:
            of_prompt = rng.beta(rate * concentration, (1 - rate) * concentration, prompts)
        outcome = (rng.random((prompts, samples)) < of_prompt[:, None]).astype(float)
        outcome[rng.random(outcome.shape) < ties] = 0.5
        _, low, high = clustered_interval(outcome.ravel(), names)
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.97


def test_ignoring_clusters_would_not_cover() -> None:
    """The test above can fail: Wilson's interval on the raw number of samples covers far less."""
    rng = np.random.Generator(np.random.Philox(7))
    covered = 0
    for _ in range(500):
        of_prompt = rng.beta(0.8, 0.2, 100)
        outcome = rng.random((100, 8)) < of_prompt[:, None]
        low, high = wilson_interval(outcome.sum(), outcome.size)
        covered += low <= 0.8 <= high
    assert covered / 500 < 0.8


def test_the_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    """200 clusters of one normal value each: the mean plus and minus 1.96 standard errors."""
    values = np.random.default_rng(0).normal(size=200)
    found = bootstrap_estimate(lambda counts: float(counts @ values / counts.sum()), 200, resamples=4000)
    assert found is not None
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_leaves_out_draws_in_which_a_figure_is_not_defined():
    def first_alone(counts):
        return float(counts[0]) if counts[0] else None

    found = bootstrap_estimate(first_alone, 3)
    assert found is not None
    assert found.low == 1.0
    assert bootstrap_estimate(lambda counts: None, 3) is None
    assert bootstrap_estimate(first_alone, 0) is None
