"""Which pairs of answers are worth asking about: what an answer would teach, by what a reward model is unsure of.

All functions are of arrays, for P candidate pairs, M members of an ensemble and D features.  A pair's *gap* is the
score of its first answer less that of its second; under Bradley-Terry the first wins with probability sigmoid(gap).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, expit

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(33)
"""Of the normal distribution: exact for polynomials of degree 65."""
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def disagreement(gaps: ArrayLike) -> Vector:
    """Standard deviation [P] over the members of the probability that the first answer wins; gaps [M, P].

    Source: Christiano et al., "Deep reinforcement learning from human preferences", arXiv:1706.03741 (2017), 2.2.4.
    """
    return expit(np.asarray(gaps, dtype=np.float64)).std(0)


def information_gain(gaps: ArrayLike, weights: ArrayLike | None = None) -> Vector:
    """Nats [P] that an answer is expected to tell of which member is right: H(mean p) - mean H(p); gaps [M, P].

    ``weights`` [M] are the members' probabilities, all the same when left out.  0 where all members say the same,
    however close to one half; log 2 at most.

    Source: Houlsby et al., "Bayesian active learning for classification and preference learning", arXiv:1112.5745
    (2011), equation 2.
    """
    wins = expit(np.asarray(gaps, dtype=np.float64))
    share = np.full(len(wins), 1.0 / len(wins)) if weights is None else np.asarray(weights, dtype=np.float64)
    return np.maximum(_entropy(share @ wins) - share @ _entropy(wins), 0.0)


def gaussian_gain(mean: ArrayLike, variance: ArrayLike) -> Vector:
    """:func:`information_gain` [P] where the gap is normal with ``mean`` [P] and ``variance`` [P]; by quadrature."""
    spread = np.sqrt(np.maximum(np.asarray(variance, dtype=np.float64), 0.0))
    return information_gain(np.asarray(mean, dtype=np.float64) + np.outer(_NODES, spread), _WEIGHTS)


def near_ties(gaps: ArrayLike) -> Vector:
    """How close [P] to one half the members' mean probability is: 0.5 at a tie, 0 where it is certain; gaps [M, P]."""
    return 0.5 - np.abs(expit(np.asarray(gaps, dtype=np.float64)).mean(0) - 0.5)


class Posterior:
    """What is known of the weights of a linear reward, as a normal distribution round their estimate.

    Laplace's approximation of Bradley-Terry with the prior N(0, I / ``precision``): the inverse covariance is
    ``precision`` I + sum over the pairs answered of p (1 - p) d d', where d is the difference of the two answers'
    features and p the probability that the first wins.  A reward model's last layer is such a reward, its features
    taken as given.

    Source: MacKay, "The evidence framework applied to classification networks", Neural Computation 4 (1992); for
    choosing comparisons by it, Houlsby et al. (2011).
    """

    def __init__(self, features: int, precision: float) -> None:
        self.covariance: Matrix = np.eye(features) / precision

    def answered(self, difference: ArrayLike, gap: float) -> None:
        """Learn that a pair of this difference [D] and gap was answered; what the answer was does not matter."""
        d = np.asarray(difference, dtype=np.float64)
        told = self.covariance @ d
        certainty = float(expit(gap) * expit(-gap))
        self.covariance -= np.outer(told, told) * (certainty / (1.0 + certainty * float(d @ told)))

    def variance(self, differences: ArrayLike) -> Vector:
        """Variance [P] of the gaps of pairs with these differences [P, D]."""
        d = np.asarray(differences, dtype=np.float64)
        return np.einsum("pd,pd->p", d @ self.covariance, d)


def most_informative(
    posterior: Posterior, differences: ArrayLike, gaps: ArrayLike, groups: Sequence[int], count: int
) -> tuple[list[int], list[float]]:
    """``count`` pairs, one of each group at most, and the nats that each is expected to tell beside those before it.

    Greedily: the pair that an answer tells most of, then the one that tells most once the first is answered, and so on;
    differences [P, D], gaps [P], groups [P].  The posterior is left as it is after all of them.
    """
    d, mean = np.asarray(differences, dtype=np.float64), np.asarray(gaps, dtype=np.float64)
    group = np.asarray(groups)
    variance = posterior.variance(d)
    gain = gaussian_gain(mean, variance)
    chosen: list[int] = []
    nats: list[float] = []
    for _ in range(min(count, len(np.unique(group)))):
        best = _greatest(gain, mean, variance)
        chosen.append(best)
        nats.append(float(gain[best]))
        gain[group == group[best]] = -1.0
        certainty = float(expit(mean[best]) * expit(-mean[best]))
        shared = d @ (posterior.covariance @ d[best])
        variance = variance - shared**2 * (certainty / (1.0 + certainty * variance[best]))
        posterior.answered(d[best], float(mean[best]))
    return chosen, nats


def _greatest(gain: Vector, mean: Vector, variance: Vector, batch: int = 64) -> int:
    """Index of the greatest gain, where ``gain`` [P] is of larger variances than there are now: an upper bound.

    A gain grows with the variance, so only those at the top are worked out anew, in place.
    """
    while True:
        top = np.argsort(-gain, kind="stable")[:batch]
        open_ = top[gain[top] >= 0.0]
        gain[open_] = gaussian_gain(mean[open_], variance[open_])
        best = int(np.argmax(gain))
        if best in open_:
            return best


def coverage(features: ArrayLike, count: int, seed: int) -> Indices:
    """``count`` of N rows of features [N, D], in order: of each cluster of k-means the row nearest to its centre.

    All of them where N is no more than ``count``.  The clusters start from rows far from one another; where one comes
    out empty, the row furthest from all chosen ones fills up.  Source: Sener & Savarese, "Active learning for
    convolutional neural networks: a core-set approach", arXiv:1708.00489 (2018), algorithm 1, for the start.
    """
    from scipy.cluster.vq import kmeans2  # half a second to import

    x = np.asarray(features, dtype=np.float64)
    if len(x) <= count:
        return np.arange(len(x))
    spread = x.std(0)
    x = (x - x.mean(0)) / np.where(spread > 0, spread, 1.0)
    start = _spread_out(x, [int(np.random.default_rng(seed).integers(len(x)))], count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cluster is dealt with below
        centres, label = kmeans2(x, x[start], minit="matrix", missing="warn")
    away = ((x - centres[label]) ** 2).sum(1)
    order = np.lexsort((away, label))
    first = np.concatenate(([True], label[order][1:] != label[order][:-1]))
    return np.sort(np.array(_spread_out(x, [int(index) for index in order[first]], count)))


def _spread_out(x: Matrix, chosen: list[int], count: int) -> list[int]:
    """Rows of ``x`` added to those chosen until they are ``count``, each the furthest from all before it."""
    nearest = np.full(len(x), np.inf)
    for index in chosen:
        nearest = np.minimum(nearest, ((x - x[index]) ** 2).sum(1))
    while len(chosen) < count:
        nearest[chosen] = -1.0  # also where rows are equal
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(1))
    return chosen


def best_of_groups(scores: ArrayLike, groups: Sequence[int], count: int) -> list[int]:
    """``count`` pairs of the highest scores [P], one of each group at most; of equal ones the first, of minus infinity
    none."""
    values, chosen, taken = np.asarray(scores, dtype=np.float64), list[int](), set[int]()
    for index in np.argsort(-values, kind="stable"):
        if len(chosen) == count or values[index] == -np.inf:
            break
        if groups[index] not in taken:
            taken.add(groups[index])
            chosen.append(int(index))
    return chosen


def _entropy(p: Vector) -> Vector:
    return entr(p) + entr(1.0 - p)
