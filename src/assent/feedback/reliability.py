"""How far each annotator can be relied on, by what all say of the same pairs of answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtrit

from assent.feedback.competence import Competence, clearness, fit_competence, nodes
from assent.feedback.votes import votes_from_rankings
from assent.intervals import Estimate
from assent.types import Ranking


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of one annotator, on pairs of answers that others judged too."""

    competence: Estimate
    """-1 to 1: how far what they say goes with which answer is better.  Two annotators of competence r and s, both of
    whom see a difference, agree on a pair with probability (1 + r s) / 2.  0 is guessing; below 0 they turn it
    around."""
    right: Estimate
    """Probability of putting the better of two answers above the other."""
    ties: float
    """Share of the pairs that they call equal."""
    pairs: int
    """How many pairs this is from."""


def reliability(rankings: Iterable[Ranking]) -> dict[str, Reliability]:
    """By annotator, of those who judged pairs of answers that others judged too; the rest are left out.

    From Bradley-Terry with competence of annotators (:mod:`assent.feedback.competence`).  Intervals are of 95%, and
    hold over prompts.  Two annotators alone cannot be told apart and get the same numbers.
    """
    return reliability_of(fit_competence(votes_from_rankings(rankings)))


def reliability_of(fit: Competence) -> dict[str, Reliability]:
    """The same of a model that was fitted already.

    ``competence`` is the reading share times the root mean square of 2 sigmoid(d) - 1, which is what the votes
    determine: with up to three votes on a pair, those two are seen as their product alone.  ``right`` also needs the
    mean of \\|2 sigmoid(d) - 1\\|, so the spread of gaps: between 0.8 (hard pairs) and 1 (easy ones) times that root.
    """
    strength, slope = clearness(fit.spread)
    ease = float(np.abs(np.tanh(0.5 * nodes(fit.spread))).mean()) / strength
    found: dict[str, Reliability] = {}
    for i, name in enumerate(fit.annotators):
        value = strength * float(fit.reading[i])
        by = np.zeros(len(fit.covariance))
        by[i], by[-1] = strength, slope * fit.reading[i]
        competence = _estimate(value, float(np.sqrt(by @ fit.covariance @ by)), fit.prompts)
        low, right, high = (0.5 + 0.5 * ease * c for c in (competence.low, value, competence.high))
        found[name] = Reliability(competence, Estimate(right, low, high), float(fit.tie_shares[i]), fit.pairs[i])
    return found


def _estimate(value: float, error: float, prompts: int) -> Estimate:
    """An interval in logits of (1 + value) / 2, which is symmetric there and stays within -1 and 1."""
    share = 0.5 * (1.0 + value)
    half = float(stdtrit(max(1, prompts - 1), 0.975)) * 0.5 * error / (share * (1.0 - share))
    low, high = (2.0 * float(expit(logit(share) + step)) - 1.0 for step in (-half, half))
    return Estimate(value, low, high)
