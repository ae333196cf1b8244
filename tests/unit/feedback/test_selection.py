"""Which pairs to ask about, against closed forms, enumeration and exact posteriors."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit

from assent.feedback.selection import (
    Posterior,
    best_of_groups,
    coverage,
    disagreement,
    gaussian_gain,
    information_gain,
    most_informative,
    near_ties,
)


def entropy(p: float) -> float:
    return float(-p * np.log(p) - (1 - p) * np.log(1 - p))


def test_information_gain_of_members_that_agree_is_none_however_close_the_call():
    np.testing.assert_allclose(information_gain([[0.0, 3.0], [0.0, 3.0]]), 0.0, atol=1e-15)


def test_information_gain_of_two_members_by_hand():
    found = information_gain(logit([[0.9], [0.1]]))
    assert found[0] == pytest.approx(np.log(2) - entropy(0.9))
    assert information_gain([[40.0], [-40.0]])[0] == pytest.approx(np.log(2))


def test_information_gain_is_what_the_answer_tells_of_the_member():
    """Mutual information of answer and member, summed over their joint distribution."""
    draw = np.random.default_rng(0)
    gaps, weights = draw.normal(size=(4, 3)), draw.dirichlet(np.ones(4))
    for pair in range(3):
        wins = expit(gaps[:, pair])
        joint = np.stack([weights * wins, weights * (1 - wins)])
        apart = np.outer(joint.sum(1), joint.sum(0))
        told = float((joint * np.log(joint / apart)).sum())
        assert information_gain(gaps, weights)[pair] == pytest.approx(told)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.5, 0.5), (-2.0, 4.0), (0.3, 1e-6)])
def test_gaussian_gain_is_the_integral(mean, variance):
    spread = variance**0.5

    def expected(value):
        density = lambda x: np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)  # noqa: E731
        return quad(lambda x: density(x) * value(expit(mean + spread * x)), -12, 12)[0]

    exact = entropy(expected(lambda p: p)) - expected(entropy)
    assert gaussian_gain([mean], [variance])[0] == pytest.approx(exact, abs=2e-4)


def test_gaussian_gain_grows_with_the_variance():
    """Which is what lets the greedy choice look at the top alone."""
    variances = np.linspace(0.0, 6.0, 61)
    for mean in np.linspace(0.0, 5.0, 11):
        assert np.all(np.diff(gaussian_gain(np.full(61, mean), variances)) > -1e-9)


def test_disagreement_and_near_ties_by_hand():
    gaps = logit([[0.9, 0.5, 0.6], [0.1, 0.5, 0.6]])
    np.testing.assert_allclose(disagreement(gaps), [0.4, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(near_ties(gaps), [0.5, 0.5, 0.4])


def test_the_posterior_is_the_inverse_of_what_was_seen():
    draw = np.random.default_rng(1)
    seen, gaps, asked = draw.normal(size=(6, 4)), draw.normal(size=6), draw.normal(size=(3, 4))
    posterior = Posterior(4, precision=2.0)
    for difference, gap in zip(seen, gaps, strict=True):
        posterior.answered(difference, float(gap))
    certainty = expit(gaps) * expit(-gaps)
    inverse = np.linalg.inv(2.0 * np.eye(4) + (seen.T * certainty) @ seen)
    np.testing.assert_allclose(posterior.covariance, inverse)
    np.testing.assert_allclose(posterior.variance(asked), np.diag(asked @ inverse @ asked.T))


def test_the_posterior_is_that_of_bradley_terry_on_a_grid():
    """One weight, ten answers as the weight would have them: the curvature at the mode, and nearly the exact spread."""
    weight, seen = 0.7, np.linspace(-2.0, 2.0, 200)
    posterior = Posterior(1, precision=1.0)
    for difference in seen:
        posterior.answered([difference], weight * difference)
    grid = np.linspace(-2.0, 4.0, 4001)
    log = -0.5 * (grid - weight) ** 2
    for difference in seen:  # the expected log-likelihood
        p = expit(weight * difference)
        log = log + p * np.log(expit(grid * difference)) + (1 - p) * np.log(expit(-grid * difference))
    density = np.exp(log - log.max())
    density /= density.sum()
    spread = float((density * (grid - (density * grid).sum()) ** 2).sum())
    assert posterior.covariance[0, 0] == pytest.approx(spread, rel=0.05)


def test_the_greedy_choice_is_that_of_trying_all_anew():
    draw = np.random.default_rng(2)
    d, gaps, groups = draw.normal(size=(40, 5)), draw.normal(size=40), [i // 4 for i in range(40)]
    chosen, nats = most_informative(Posterior(5, 1.0), d, gaps, groups, 6)
    posterior, left = Posterior(5, 1.0), list(range(40))
    for pair, told in zip(chosen, nats, strict=True):
        gain = {i: float(gaussian_gain([gaps[i]], posterior.variance(d[[i]]))[0]) for i in left}
        best = max(gain, key=lambda i: gain[i])
        assert (pair, told) == (best, pytest.approx(gain[best]))
        posterior.answered(d[best], float(gaps[best]))
        left = [i for i in left if groups[i] != groups[best]]
    assert len({groups[i] for i in chosen}) == 6
    assert len(most_informative(Posterior(5, 1.0), d, gaps, groups, 99)[0]) == 10  # of each group one


def test_a_pair_like_one_that_is_chosen_tells_little_more():
    d = np.array([[3.0, 0.0], [3.0, 0.01], [0.0, 2.0]])
    chosen, nats = most_informative(Posterior(2, 1.0), d, np.zeros(3), [0, 1, 2], 3)
    assert chosen[1] == 2  # not the twin of the first
    assert nats[0] > nats[1] > nats[2]


def test_coverage_takes_one_of_each_cluster():
    draw = np.random.default_rng(3)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    rows = np.repeat(centres, 25, axis=0) + 0.1 * draw.normal(size=(100, 2))
    for seed in range(5):
        assert [int(i) // 25 for i in coverage(rows, 4, seed)] == [0, 1, 2, 3]
    assert coverage(rows[:3], 5, 0).tolist() == [0, 1, 2]
    assert len(set(coverage(rows, 30, 0).tolist())) == 30
    assert len(set(coverage(np.ones((5, 2)), 3, 0).tolist())) == 3
    assert coverage(np.ones((5, 2)), 2, 0).tolist() == coverage(np.ones((5, 2)), 2, 0).tolist()


def test_best_of_groups_is_the_best_there_is():
    draw = np.random.default_rng(4)
    scores, groups = draw.normal(size=9), [0, 0, 0, 1, 1, 1, 2, 2, 2]
    chosen = best_of_groups(scores, groups, 2)
    allowed = [pick for pick in combinations(range(9), 2) if groups[pick[0]] != groups[pick[1]]]
    assert sorted(chosen) == sorted(max(allowed, key=lambda pick: scores[list(pick)].sum()))
    assert best_of_groups([1.0, -np.inf, 2.0], [0, 1, 2], 3) == [2, 0]
    assert all(best_of_groups([1.0, 1.0], order, 1) == [0] for order in permutations([0, 1]))
