import math

import pytest

from assent.evaluation.win_rates import WinRate, from_outcomes, win_rate


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
