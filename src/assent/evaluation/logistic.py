"""Logistic regression of outcomes in [0, 1], with errors that allow for several outcomes of one prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit

Floats = NDArray[np.float64]
_STEPS = 50
_LARGEST = 30.0
"""In logits: a coefficient beyond it is on its way to infinity."""


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients [K] in logits, their covariance [K, K], and the quantile that makes intervals of them."""

    coefficients: Floats
    covariance: Floats
    quantile: float

    def interval(self, of: int) -> tuple[float, float, float]:
        """Coefficient ``of`` with its interval: ``(value, low, high)``."""
        value = float(self.coefficients[of])
        half = self.quantile * float(np.sqrt(self.covariance[of, of]))
        return value, value - half, value + half


def fit_logistic(
    features: Floats, outcomes: Floats, clusters: Sequence[Hashable], confidence: float = 0.95
) -> LogisticFit:
    """Maximum likelihood of ``P(outcome = 1) = sigmoid(features @ coefficients)`` by Newton's method.

    ``features`` [N, K] and ``outcomes`` [N] in [0, 1]: half counts as half a win and half a loss, which keeps the
    estimate consistent for the mean (Papke & Wooldridge, 1996).  The covariance is the sandwich over ``clusters`` [N],
    ``G / (G - 1)`` times, and intervals use Student's quantile of ``G - 1`` degrees of freedom.

    Raises ``ValueError`` where the maximum is not finite (some direction of the features separates wins from losses),
    where the features are collinear, and for fewer than two clusters.

    Source: Liang & Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986).
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(name, len(order)) for name in clusters], dtype=np.intp)
    if len(order) < 2:
        raise ValueError("errors need two prompts or more")
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError("nothing tells some of the coefficients apart")
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = expit(x @ beta)
        hessian = x.T @ (x * (p * (1 - p))[:, None])
        if np.linalg.cond(hessian) > 1e12:
            break
        step = np.linalg.solve(hessian, x.T @ (y - p))
        # A full Newton step from far away may overshoot; logits of a fit worth having are small.
        beta = beta + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(beta).max() > _LARGEST:
            break
        if np.abs(step).max() < 1e-10:
            return LogisticFit(beta, _sandwich(x, y, beta, index, len(order)), _quantile(len(order), confidence))
    raise ValueError("the outcomes do not bound the fit: one side always wins")


def _sandwich(x: Floats, y: Floats, beta: Floats, index: NDArray[np.intp], groups: int) -> Floats:
    p = expit(x @ beta)
    bread = np.linalg.inv(x.T @ (x * (p * (1 - p))[:, None]))
    scores = np.zeros((groups, x.shape[1]))
    np.add.at(scores, index, x * (y - p)[:, None])
    return bread @ (scores.T @ scores * groups / (groups - 1)) @ bread


def _quantile(groups: int, confidence: float) -> float:
    return float(stdtrit(groups - 1, 0.5 + confidence / 2))
