"""Confidence intervals for shares and means whose observations come in clusters (several per prompt)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with an interval of 95% unless said otherwise."""

    value: float
    low: float
    high: float


def wilson_interval(
    count: float, n: float, confidence: float = 0.95, quantile: float | None = None
) -> tuple[float, float]:
    """Wilson's score interval for the share ``count / n`` of ``n`` independent observations: ``(low, high)``.

    Both may be fractional (ties that count half, an effective sample size).  ``quantile`` replaces the normal quantile
    of ``confidence``.  Never of zero width, also at shares 0 and 1.  Raises ``ValueError`` when ``n`` is not positive
    or ``count`` not in [0, n].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not n > 0:
        raise ValueError(f"an interval needs at least one observation, got n = {n}")
    if not 0 <= count <= n:
        raise ValueError(f"count must lie in [0, n] = [0, {n}], got {count}")
    rate = count / n
    z = float(ndtri(0.5 + confidence / 2)) if quantile is None else quantile
    shrink = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))) / shrink
    # At the edges the exact bound is the edge itself; rounding would leave it a hair inside or outside.
    low = 0.0 if rate == 0.0 else max(0.0, centre - half)
    high = 1.0 if rate == 1.0 else min(1.0, centre + half)
    return low, high


def clustered_variance(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Variance of the mean of ``values`` [n] when values of one cluster are dependent and clusters independent.

    The linearised ratio estimator ``G / (G - 1) * sum_g (sum_{i in g} (x_i - mean))^2 / n^2`` over ``G`` clusters,
    which is the sample variance of the mean when each cluster holds one value.  ``nan`` for fewer than two clusters.

    Source: Miller, "Adding error bars to evals", arXiv:2411.00640 (2024), section 2.2; Cochran, "Sampling techniques"
    (1977), section 9.
    """
    x, index, count = _grouped(values, clusters)
    if count < 2:
        return float("nan")
    sums = np.bincount(index, weights=x - x.mean(), minlength=count)
    return float(count / (count - 1) * np.sum(sums**2) / len(x) ** 2)


def clustered_standard_error(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean of ``values`` [n]; ``clusters`` [n] names the prompt of each, ``None`` = independent.

    In the units of the values; ``nan`` for fewer than two clusters.
    """
    names = range(len(np.atleast_1d(np.asarray(values)))) if clusters is None else clusters
    return float(np.sqrt(clustered_variance(values, names)))


def clustered_interval(
    values: ArrayLike, clusters: Sequence[Hashable], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean of ``values`` [n], each in [0, 1], with a Wilson interval that allows for clusters: ``(mean, low, high)``.

    Wilson's interval at the effective sample size ``mean (1 - mean) / clustered variance`` with Student's quantile of
    ``G - 1`` degrees of freedom.  When all values agree (rate 0 or 1, or only ties) the data say nothing about their
    spread, and every cluster counts as one observation.  Chosen over the cluster bootstrap because that has zero width
    at rate 1, where a good policy ends up, and because this needs no random numbers.

    Source: Korn & Graubard, Survey Methodology 24 (1998), for the effective sample size; Franco, Little, Louis & Slud,
    "Comparative study of confidence intervals for proportions in complex sample surveys", JSSAM 7 (2019).
    """
    x, _, count = _grouped(values, clusters)
    if np.any((x < 0) | (x > 1)):
        raise ValueError("values of a share lie in [0, 1]")
    mean = float(x.mean())
    if count < 2:
        return mean, *wilson_interval(mean, 1, confidence)
    variance = clustered_variance(x, clusters)
    quantile = float(stdtrit(count - 1, 0.5 + confidence / 2))
    spread = mean * (1 - mean)
    # Relative threshold: sums of deviations that cancel leave rounding of the order of 1e-32.
    effective = spread / variance if variance > 1e-12 * spread and spread > 0 else float(count)
    return mean, *wilson_interval(mean * effective, effective, confidence, quantile)


def bootstrap_estimate(
    statistic: Callable[[NDArray[np.float64]], float | None],
    clusters: int,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate | None:
    """A statistic of weighted clusters, with the percentiles of the cluster bootstrap; ``None`` where it is undefined.

    ``statistic`` gets how often each of the ``clusters`` counts [G]: once each for the value, then as drawn with
    replacement.  Draws in which it is undefined (``None``) are left out.  The same ``seed``, the same interval.

    Source: Efron & Tibshirani, "An introduction to the bootstrap" (1993), section 13.3; Field & Welsh, "Bootstrapping
    clustered data", JRSS B 69 (2007).
    """
    value = statistic(np.ones(clusters)) if clusters else None
    if value is None:
        return None
    draws = np.random.Generator(np.random.Philox(seed))
    counts = draws.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=resamples).astype(np.float64)
    again = [found for found in map(statistic, counts) if found is not None]
    tail = 0.5 - confidence / 2
    low, high = np.quantile(again, [tail, 1 - tail]) if again else (value, value)
    return Estimate(value, float(low), float(high))


def _grouped(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[NDArray[np.float64], NDArray[np.intp], int]:
    """Values [n], the index of each one's cluster [n], the number of clusters."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError("expected at least one value, in one dimension")
    if len(x) != len(clusters):
        raise ValueError(f"{len(x)} values but {len(clusters)} clusters")
    if not np.all(np.isfinite(x)):
        raise ValueError("values must be finite")
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(name, len(order)) for name in clusters], dtype=np.intp)
    return x, index, len(order)
