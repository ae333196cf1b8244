import math

import numpy as np
import pytest
from scipy.stats import entropy, sem

from assent.evaluation.kl import sequence_kl, token_log_ratios


def test_by_hand() -> None:
    got = sequence_kl([[-1.0, -2.0], [-0.5]], [[-1.5, -1.0], [-1.5]])
    assert got.k1 == pytest.approx((-0.5 + 1.0) / 2)  # (0.5 - 1) and 1
    first = (math.exp(-0.5) - 1 + 0.5) + (math.exp(1.0) - 1 - 1.0)
    second = math.exp(-1.0) - 1 + 1.0
    assert got.k3 == pytest.approx((first + second) / 2)
    assert got.k1_se == pytest.approx(sem([-0.5, 1.0]))
    assert got.k3_se == pytest.approx(sem([first, second]))
    assert (got.tokens, got.n) == (1.5, 2)


def test_zero_for_the_reference_itself() -> None:
    got = sequence_kl([[-1.0, -2.0], [-3.0]], [[-1.0, -2.0], [-3.0]])
    assert (got.k1, got.k1_se, got.k3, got.k3_se) == (0, 0, 0, 0)


def test_both_estimators_find_the_true_divergence() -> None:
    """Sequences of three independent tokens over four words: KL is three times that of one token."""
    p, q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.25, 0.25, 0.25, 0.25])
    drawn = np.random.Generator(np.random.Philox(11)).choice(4, p=p, size=(20000, 3))
    got = sequence_kl(np.log(p)[drawn].tolist(), np.log(q)[drawn].tolist())
    truth = 3 * entropy(p, q)
    assert abs(got.k1 - truth) < 3 * got.k1_se
    assert abs(got.k3 - truth) < 3 * got.k3_se
    assert got.k1_se < 0.02


def test_clusters_widen_the_error() -> None:
    rows, ref = [[-1.0], [-1.0], [-2.0], [-2.0]], [[-2.0]] * 4
    assert sequence_kl(rows, ref, list("aabb")).k1_se > sequence_kl(rows, ref).k1_se


def test_a_huge_ratio_stays_finite() -> None:
    got = sequence_kl([[-1000.0], [-1.0]], [[-1.0], [-1.0]])
    assert math.isfinite(got.k3)


@pytest.mark.parametrize(
    ("policy", "reference"), [([], []), ([[-1.0]], []), ([[-1.0]], [[-1.0, -2.0]]), ([[-math.inf]], [[-1.0]])]
)
def test_refuses_nonsense(policy: list[list[float]], reference: list[list[float]]) -> None:
    with pytest.raises(ValueError):
        sequence_kl(policy, reference)


def test_token_log_ratios_sum_to_k1() -> None:
    assert token_log_ratios([-1.0, -2.0], [-1.5, -1.0]) == [0.5, -1.0]
