import itertools
import math

import numpy as np
import pytest

from assent.evaluation.best_of_n import best_of_n, best_of_n_kl, powers_of_two


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_is_the_mean_over_every_subset(n: int) -> None:
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    found = best_of_n(scores, values, n)
    for row in range(3):
        picks = [max(some, key=lambda i: scores[row, i]) for some in itertools.combinations(range(5), n)]
        assert found[row] == pytest.approx(np.mean([values[row, i] for i in picks]))


def test_samples_that_score_alike_stand_for_one_another() -> None:
    assert best_of_n([[1.0, 1.0, 0.0]], [[4.0, 2.0, 9.0]], 3) == pytest.approx([3.0])


def test_the_expected_maximum_of_normal_samples() -> None:
    scores = np.random.default_rng(1).normal(size=(4000, 8))
    assert best_of_n(scores, scores, 4).mean() == pytest.approx(1.02938, abs=0.02)  # of four standard normals


def test_large_numbers_do_not_overflow() -> None:
    scores = np.random.default_rng(1).normal(size=(2, 2000))
    assert np.isfinite(best_of_n(scores, scores, 1000)).all()


def test_the_analytic_kl_is_that_of_a_small_world() -> None:
    """A policy uniform over many answers: the best of n puts ((r / M)^n - ((r - 1) / M)^n) on the answer of rank r."""
    many, n = 20_000, 4
    edges = (np.arange(many + 1) / many) ** n
    best = np.diff(edges)
    assert float(np.sum(best * np.log(best * many))) == pytest.approx(best_of_n_kl(n), abs=1e-3)
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(64) == pytest.approx(math.log(64) - 63 / 64)


def test_powers() -> None:
    assert powers_of_two(12) == [1, 2, 4, 8, 12]
    assert powers_of_two(1) == [1]


@pytest.mark.parametrize(("scores", "n"), [([[1.0, 2.0]], 3), ([[1.0, 2.0]], 0), ([1.0, 2.0], 1)])
def test_refuses_nonsense(scores: list, n: int) -> None:
    with pytest.raises(ValueError):
        best_of_n(scores, scores, n)
    with pytest.raises(ValueError):
        best_of_n_kl(0)
