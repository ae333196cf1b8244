"""Whether a reward model's scores mean what they say: temperature, bias by length, accuracy by part, and the ceiling.

All of it is of comparisons: the gap ``r_chosen - r_rejected`` in logits of the Bradley-Terry model, and what is known
of the two answers and of who compared them.  :mod:`assent.evaluation.accuracy` has the reliability diagram.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from assent.evaluation.accuracy import calibration, expected_calibration_error
from assent.intervals import clustered_interval
from assent.rewards.lengths import doublings

_COLDEST, _WARMEST = 1e-2, 1e2


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """What dividing the scores by one number does for P(chosen)."""

    temperature: float
    """Of all comparisons.  Above 1 the scores are too sure, below 1 not sure enough; within 0.01 to 100."""
    loss: float
    """Mean of -log P(chosen), in nats, as the scores are."""
    loss_fitted: float
    """The same, each prompt's scores divided by a temperature fitted on other prompts."""
    error: float
    """Expected calibration error as the scores are."""
    error_fitted: float
    """The same, each prompt's scores divided by a temperature fitted on other prompts."""


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """Accuracy on the ``n`` comparisons of one group, with an interval of 95% by prompt."""

    name: str
    accuracy: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class LengthBias:
    """What length has to do with preference, over comparisons whose answers differ in length."""

    longer_preferred: float
    """Share in which the model prefers the longer answer."""
    longer_chosen: float
    """Share in which the longer answer was chosen: what there was to learn."""
    slope: float
    """Score for each doubling of length, between the answers to one prompt."""
    explained: float
    """Share of the variance of score gaps that the gap in length explains, 0 to 1."""
    n: int


def fit_temperature(gaps: ArrayLike, clusters: Sequence[Hashable], bins: int = 10) -> TemperatureFit:
    """The temperature T for which ``sigmoid(gap / T)`` is most likely, and what it does to other prompts.

    ``gaps`` [n]; ``clusters`` [n] are the prompts, halves of which are fitted for one another.  Raises ``ValueError``
    for no gap at all.  Source: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.
    """
    gap = np.asarray(gaps, dtype=np.float64)
    if not len(gap) or len(gap) != len(clusters):
        raise ValueError(f"{len(gap)} gaps of {len(clusters)} prompts: expected one prompt for each, and one at least")
    order = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    half = np.array([order[name] % 2 for name in clusters], dtype=bool)
    scaled = gap.copy()
    for here in (half, ~half):
        if here.any() and (~here).any():
            scaled[here] = gap[here] / _temperature(gap[~here])
    return TemperatureFit(
        temperature=_temperature(gap),
        loss=_loss(gap),
        loss_fitted=_loss(scaled),
        error=expected_calibration_error(calibration(gap, bins)),
        error_fitted=expected_calibration_error(calibration(scaled, bins)),
    )


def _loss(gap: NDArray[np.float64]) -> float:
    return float(-log_expit(gap).mean())


def _temperature(gap: NDArray[np.float64]) -> float:
    """The loss is convex in 1 / T, and so has one minimum in log T."""
    bounds = (math.log(_COLDEST), math.log(_WARMEST))
    found = minimize_scalar(lambda log_t: _loss(gap * math.exp(-log_t)), bounds=bounds, method="bounded")
    return math.exp(float(found.x))


def length_bias(gaps: ArrayLike, chosen_lengths: ArrayLike, rejected_lengths: ArrayLike) -> LengthBias | None:
    """Of score gaps [n] and the lengths [n] of both answers in characters; ``None`` where no lengths differ.

    The slope is that of least squares through the origin, which is what one answer more or less to a prompt leaves of
    a regression within prompts.
    """
    gap = np.asarray(gaps, dtype=np.float64)
    longer = doublings(chosen_lengths) - doublings(rejected_lengths)
    differ = longer != 0
    gap, longer = gap[differ], longer[differ]
    if not len(gap):
        return None
    slope = float((gap * longer).sum() / (longer * longer).sum())
    total = float((gap * gap).sum())
    signs = np.sign(gap) * np.sign(longer)
    return LengthBias(
        longer_preferred=float((0.5 + 0.5 * signs).mean()),
        longer_chosen=float((longer > 0).mean()),
        slope=slope,
        explained=float(slope * (gap * longer).sum() / total) if total else 0.0,
        n=len(gap),
    )


def accuracy_by(
    gaps: ArrayLike, groups: Sequence[str], clusters: Sequence[Hashable], least: int = 1
) -> tuple[GroupAccuracy, ...]:
    """Accuracy in each of the ``groups`` [n], by name; those of fewer than ``least`` comparisons are left out.

    ``clusters`` [n] are the prompts; a gap of zero counts half.
    """
    right = _right(gaps)
    members: dict[str, list[int]] = {}
    for place, name in enumerate(groups):
        members.setdefault(name, []).append(place)
    out: list[GroupAccuracy] = []
    for name, places in sorted(members.items()):
        if len(places) >= least:
            mean, low, high = clustered_interval(right[places], [clusters[i] for i in places])
            out.append(GroupAccuracy(name, mean, low, high, len(places)))
    return tuple(out)


def accuracy_by_number(
    gaps: ArrayLike, numbers: ArrayLike, clusters: Sequence[Hashable], parts: int = 4, unit: str = ""
) -> tuple[GroupAccuracy, ...]:
    """Accuracy in ``parts`` groups of about equal size by a number [n], named by its range, from small to large."""
    number = np.asarray(numbers, dtype=np.float64)
    edges = np.unique(np.quantile(number, np.linspace(0, 1, parts + 1)[1:-1])) if len(number) else np.zeros(0)
    index = np.searchsorted(edges, number, side="left")
    names: dict[int, str] = {}
    for part in sorted(set(index.tolist())):
        here = number[index == part]
        names[part] = f"{here.min():.3g} to {here.max():.3g}{unit}"
    found = {row.name: row for row in accuracy_by(gaps, [names[part] for part in index.tolist()], clusters)}
    return tuple(found[name] for name in names.values())


def noise_ceiling(agreement: float) -> float:
    """Accuracy that the truth itself would have on one annotator's answers, from how often two annotators agree.

    Two who are each right with probability p, independently, agree with probability p^2 + (1 - p)^2, so that
    p = (1 + sqrt(2 a - 1)) / 2; at an agreement of 1/2 or less, 1/2.
    """
    return 0.5 * (1.0 + math.sqrt(max(0.0, 2.0 * agreement - 1.0)))


def repeated_agreement(pairs: Sequence[tuple[Hashable, str, str, str]]) -> tuple[float, int] | None:
    """How often two annotators chose the same of the same two answers, and in how many pairs of annotators.

    ``pairs``: prompt, chosen, rejected, annotator.  ``None`` where no two annotators compared the same two answers.
    """
    votes: dict[Hashable, dict[str, bool]] = {}
    for prompt, chosen, rejected, annotator in pairs:
        key = (prompt, frozenset((chosen, rejected)))
        votes.setdefault(key, {}).setdefault(annotator, chosen < rejected)
    agree = total = 0
    for given in votes.values():
        yes, n = sum(given.values()), len(given)
        agree += math.comb(yes, 2) + math.comb(n - yes, 2)
        total += math.comb(n, 2)
    return (agree / total, total) if total else None


def as_rows(groups: Mapping[str, Sequence[GroupAccuracy]]) -> dict[str, list[dict[str, float | str | int]]]:
    """Groups as plain records, those with one group alone left out: they say nothing besides the whole."""
    return {
        kind: [
            {"name": row.name, "accuracy": row.accuracy, "low": row.low, "high": row.high, "n": row.n} for row in rows
        ]
        for kind, rows in groups.items()
        if len(rows) > 1
    }


def _right(gaps: ArrayLike) -> NDArray[np.float64]:
    gap = np.asarray(gaps, dtype=np.float64)
    return np.where(gap == 0, 0.5, gap > 0).astype(np.float64)
