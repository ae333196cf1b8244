"""How often, and how confidently, a reward model prefers what the annotators preferred."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from assent.intervals import clustered_interval


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Comparisons whose predicted probability fell into one bin: its mean, the share that came true, their number."""

    predicted: float
    observed: float
    n: int


@dataclass(frozen=True, slots=True)
class MarginBin:
    """Accuracy on the ``n`` comparisons with ``low <= margin <= high``."""

    low: float
    high: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class PairwiseAccuracy:
    """What :func:`pairwise_accuracy` measures, all of it on the ``n`` comparisons that are no ties."""

    accuracy: float
    low: float
    high: float
    ceiling: float | None
    """Accuracy of the true preference on the same comparisons: what annotator noise leaves to reach.  ``None`` where
    the truth is not known."""
    n: int
    ties: int
    """Comparisons left out because the annotator saw no difference."""
    by_margin: tuple[MarginBin, ...]
    """From the smallest margin to the largest; empty where no margins were given."""
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float
    """Expected calibration error, in [0, 0.5]."""


def pairwise_accuracy(
    chosen: Sequence[float],
    rejected: Sequence[float],
    *,
    ties: Sequence[bool] | None = None,
    true_chosen: Sequence[float] | None = None,
    true_rejected: Sequence[float] | None = None,
    margins: Sequence[float] | None = None,
    prompt_ids: Sequence[Hashable] | None = None,
    bins: int = 10,
    confidence: float = 0.95,
) -> PairwiseAccuracy:
    """Accuracy of a reward model on comparisons, with the ceiling and the calibration beside it.

    All sequences are [n], one entry a comparison.  ``chosen`` and ``rejected`` are the model's scores in logits of
    the Bradley-Terry model; a comparison that it scores equal counts half.  ``ties`` marks comparisons to leave out.
    ``true_chosen`` and ``true_rejected`` are the true utilities, from which the ceiling follows.  ``margins`` (any
    unit) splits the accuracy into quartiles of margin.  ``prompt_ids`` widens the interval for the pairs of one
    prompt, which are not independent; without it they are taken to be.

    Raises ``ValueError`` for lengths that differ, or when no comparison is left.
    """
    given = [ties, true_chosen, true_rejected, margins, prompt_ids]
    if any(len(each) != len(chosen) for each in [rejected, *given] if each is not None):
        raise ValueError("one entry a comparison: the sequences differ in length")
    if (true_chosen is None) != (true_rejected is None):
        raise ValueError("the ceiling needs the true utilities of both sides")
    keep = [i for i in range(len(chosen)) if ties is None or not ties[i]]
    if len(keep) == 0:
        raise ValueError("no comparison is left" + (": all are ties" if len(chosen) else ""))
    gaps = _gaps(chosen, rejected)[keep]
    correct = _half_ties(gaps)
    clusters = keep if prompt_ids is None else [prompt_ids[i] for i in keep]
    accuracy, low, high = clustered_interval(correct, clusters, confidence)
    ceiling = None
    if true_chosen is not None and true_rejected is not None:
        ceiling = float(_half_ties(_gaps(true_chosen, true_rejected)[keep]).mean())
    table = calibration(gaps, bins)
    return PairwiseAccuracy(
        accuracy=accuracy,
        low=low,
        high=high,
        ceiling=ceiling,
        n=len(keep),
        ties=len(chosen) - len(keep),
        by_margin=() if margins is None else accuracy_by_margin(correct, np.asarray(margins, dtype=np.float64)[keep]),
        calibration=table,
        calibration_error=expected_calibration_error(table),
    )


def calibration(gaps: ArrayLike, bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Predicted probability against observed share, from score gaps ``r_chosen - r_rejected`` [n] in logits.

    The chosen side wins by definition, so a pair is turned to the side that the model prefers: the prediction is
    ``sigmoid(|gap|)`` in [0.5, 1), cut into ``bins`` of equal width; observed is how often that side was the chosen
    one (a gap of zero counts half).  Empty bins are left out.
    """
    gap = np.asarray(gaps, dtype=np.float64)
    predicted, observed = expit(np.abs(gap)), _half_ties(gap)
    index = np.minimum(((predicted - 0.5) * 2 * bins).astype(int), bins - 1)
    return tuple(
        CalibrationBin(float(predicted[here].mean()), float(observed[here].mean()), int(here.sum()))
        for here in (index == b for b in range(bins))
        if here.any()
    )


def expected_calibration_error(table: Sequence[CalibrationBin]) -> float:
    """Mean over comparisons of ``|predicted - observed|`` of their bin.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    return sum(row.n * abs(row.predicted - row.observed) for row in table) / sum(row.n for row in table)


def accuracy_by_margin(correct: ArrayLike, margins: ArrayLike, parts: int = 4) -> tuple[MarginBin, ...]:
    """Accuracy in ``parts`` groups of about equal size, by margin; equal margins stay in one group."""
    right, margin = np.asarray(correct, dtype=np.float64), np.asarray(margins, dtype=np.float64)
    edges = np.unique(np.quantile(margin, np.linspace(0, 1, parts + 1)[1:-1]))
    index = np.searchsorted(edges, margin, side="left")
    groups = (np.flatnonzero(index == part) for part in range(len(edges) + 1))
    return tuple(
        MarginBin(float(margin[g].min()), float(margin[g].max()), float(right[g].mean()), len(g))
        for g in groups
        if len(g)
    )


def _gaps(a: Sequence[float], b: Sequence[float]) -> NDArray[np.float64]:
    gaps = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if not np.all(np.isfinite(gaps)):
        raise ValueError("scores must be finite")
    return gaps


def _half_ties(gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(gaps == 0, 0.5, gaps > 0)
