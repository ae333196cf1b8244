"""Best of n: what choosing the sample that a reward model likes most gains, at every n from one set of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln


def best_of_n_kl(n: int) -> float:
    """KL of the best of ``n`` from the policy that it samples, in nats: ``log n - (n - 1) / n``.

    Exact where no two samples score alike, an upper bound else.  Source: Stiennon et al. (2020), appendix G.3;
    Beirami et al., "Theoretical guarantees on the best-of-n alignment policy", arXiv:2401.01879.
    """
    if n < 1:
        raise ValueError(f"the best of {n}: n is 1 or more")
    return math.log(n) - (n - 1) / n


def best_of_n(choosing: ArrayLike, values: ArrayLike, n: int) -> NDArray[np.float64]:
    """Expected value [G] of the sample that scores highest of ``n``, without bias, from ``N >= n`` samples a prompt.

    ``choosing`` [G, N] are the scores that choose, ``values`` [G, N] what is asked about (the same scores, or those
    of a held-out judge).  The mean over all N-choose-n subsets: the sample of ascending rank i is the best in
    ``C(i - 1, n - 1)`` of them.  Samples that score alike stand for one another.

    Source: Nakano et al., "WebGPT", arXiv:2112.09332 (2021), appendix I.
    """
    scores, outcome = np.asarray(choosing, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if scores.shape != outcome.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and values {outcome.shape}: expected the same [prompts, samples]")
    samples = scores.shape[1]
    if not 1 <= n <= samples:
        raise ValueError(f"the best of {n} from {samples} samples a prompt: draw {n} or more")
    weights = _weights(samples, n)
    return np.array([weights @ _in_order(s, v) for s, v in zip(scores, outcome, strict=True)])


def powers_of_two(most: int) -> Sequence[int]:
    """1, 2, 4, ... up to ``most``, and ``most`` itself."""
    return sorted({1 << k for k in range(most.bit_length()) if 1 << k <= most} | {most})


def _weights(samples: int, n: int) -> NDArray[np.float64]:
    """Of each ascending rank [N]: the share of the subsets in which it is the best."""
    i = np.arange(n, samples + 1)
    logs = _log_choose(i - 1, n - 1) - _log_choose(np.array(samples), n)
    return np.concatenate([np.zeros(n - 1), np.exp(logs)])


def _log_choose(a: NDArray[np.int_], b: int) -> NDArray[np.float64]:
    return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)


def _in_order(scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values by ascending score, those of equal scores at their mean."""
    _, group = np.unique(scores, return_inverse=True)
    means = np.bincount(group, weights=values) / np.bincount(group)
    return means[np.sort(group)]
