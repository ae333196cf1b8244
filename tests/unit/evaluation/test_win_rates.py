import math

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from assent.evaluation.win_rates import (
    WinRate,
    detectable_difference,
    from_outcomes,
    length_controlled,
    prompts_needed,
    win_rate,
)


def test_counts_and_rate_by_hand() -> None:
    got = win_rate(["p", "q", "r", "s", "t"], [1.0, 2.0, 3.0, 0.0, 5.0], [0.0, 2.0, 1.0, 4.0, 4.95], tie_width=0.1)
    assert (got.wins, got.ties, got.losses, got.n) == (2, 2, 1, 5)
    assert got.rate == 0.6
    assert 0 < got.low < 0.6 < got.high < 1


def test_tie_width_is_inclusive_and_zero_by_default() -> None:
    assert win_rate(["p", "q"], [1.0, 0.5], [0.5, 0.5]).ties == 1
    assert win_rate(["p", "q"], [1.0, 0.5], [0.5, 0.5], tie_width=0.5).ties == 2


def test_a_perfect_policy_keeps_an_interval() -> None:
    got = win_rate([str(i) for i in range(200)], [1.0] * 200, [0.0] * 200)
    assert (got.rate, got.high) == (1.0, 1.0)
    assert 0.97 < got.low < 0.99


def test_swapping_the_policies_mirrors_the_result() -> None:
    ids, a, b = [0, 0, 1, 1, 2, 2], [1, 2, 3, 4, 5, 6], [6, 1, 3, 2, 1, 1]
    forward, back = win_rate(ids, a, b), win_rate(ids, b, a)
    for mine, theirs in zip(forward.reversed().__getstate__(), back.__getstate__(), strict=True):  # slots: field order
        assert mine == pytest.approx(theirs)


def test_outcomes_of_a_judge() -> None:
    got = from_outcomes(list("abcd"), [1, 0.5, 0, 1])
    assert (got.wins, got.ties, got.losses, got.rate) == (2, 1, 1, 0.625)
    assert isinstance(got, WinRate)


@pytest.mark.parametrize(
    ("ids", "a", "b", "width"),
    [
        ([], [], [], 0),
        (["p"], [1.0], [1.0, 2.0], 0),
        (["p"], [math.nan], [1.0], 0),
        (["p"], [math.inf], [1.0], 0),
        (["p"], [1.0], [1.0], -1),
    ],
)
def test_refuses_nonsense(ids: list[str], a: list[float], b: list[float], width: float) -> None:
    with pytest.raises(ValueError):
        win_rate(ids, a, b, width)


def test_refuses_an_outcome_between() -> None:
    with pytest.raises(ValueError, match=r"0\.7"):
        from_outcomes(["p"], [0.7])


def test_length_control_takes_away_what_length_bought() -> None:
    """A judge who only counts words: at equal length the policies are equal, whatever their win rate."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(10, 60, size=400), rng.integers(5, 50, size=400)
    outcomes = (rng.random(400) < 1 / (1 + np.exp(-2 * np.tanh((a - b) / 20)))).astype(float).tolist()
    plain = from_outcomes(range(400), outcomes)
    found = length_controlled(range(400), outcomes, a.tolist(), b.tolist())
    assert plain.low > 0.5
    assert found is not None
    rate, low, high = found
    assert low < 0.5 < high
    assert rate < plain.rate


def test_length_control_changes_nothing_where_length_says_nothing() -> None:
    rng = np.random.default_rng(1)
    outcomes = (rng.random(1000) < 0.7).astype(float).tolist()
    a, b = (rng.integers(10, 60, size=1000).tolist() for _ in range(2))
    found = length_controlled(range(1000), outcomes, a, b)
    assert found is not None
    assert found[0] == pytest.approx(np.mean(outcomes), abs=0.01)
    assert length_controlled([0, 1], [1.0, 1.0], [3, 4], [1, 9]) is None  # nothing bounds the fit
    assert length_controlled([0, 1], [1.0, 0.0], [3, 3], [3, 3]) is None


@pytest.mark.parametrize(("samples", "ties"), [(1, 0.0), (4, 0.3)])
def test_prompts_needed_and_detectable_difference_are_inverses(samples: int, ties: float) -> None:
    needed = prompts_needed(0.1, samples, ties, correlation=0.5)
    assert detectable_difference(needed, samples, ties, correlation=0.5) <= 0.1
    assert detectable_difference(needed - 1, samples, ties, correlation=0.5) > 0.1


def test_prompts_needed_equals_statsmodels() -> None:
    power = NormalIndPower(ddof=0)
    theirs = power.solve_power(effect_size=0.1 / 0.5, alpha=0.05, power=0.8, ratio=0)
    assert prompts_needed(0.1) == math.ceil(theirs)
    assert detectable_difference(1) == 0.5


def test_the_detectable_difference_is_detected() -> None:
    rng = np.random.default_rng(0)
    rate = 0.5 + detectable_difference(100)
    told = [from_outcomes(range(100), (rng.random(100) < rate).astype(float).tolist()).low > 0.5 for _ in range(500)]
    assert np.mean(told) == pytest.approx(0.8, abs=0.05)
    for nonsense in ({"prompts": 0}, {"prompts": 9, "ties": 1.0}, {"prompts": 9, "correlation": 2.0}):
        with pytest.raises(ValueError):
            detectable_difference(**nonsense)
    with pytest.raises(ValueError):
        prompts_needed(0.6)
