"""Win rates between two policies on the same prompts, with intervals that allow for several samples a prompt."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from assent.evaluation.logistic import fit_logistic
from assent.intervals import clustered_interval


@dataclass(frozen=True, slots=True)
class WinRate:
    """Outcome of ``n`` comparisons of A against B.

    ``rate`` is the share that A won, a tie counting half: ``(wins + ties / 2) / n``.  ``low`` and ``high`` bound it.
    """

    wins: int
    ties: int
    losses: int
    rate: float
    low: float
    high: float
    n: int

    def reversed(self) -> WinRate:
        """The same comparisons seen from B."""
        return WinRate(self.losses, self.ties, self.wins, 1 - self.rate, 1 - self.high, 1 - self.low, self.n)


def win_rate(
    prompt_ids: Sequence[Hashable],
    scores_a: Sequence[float],
    scores_b: Sequence[float],
    tie_width: float = 0.0,
    confidence: float = 0.95,
) -> WinRate:
    """How often A's sample scores above B's on the same prompt.

    Comparison ``i`` sets ``scores_a[i]`` against ``scores_b[i]``, both samples for prompt ``prompt_ids[i]``; a prompt
    may occur often, and the interval counts prompts, not samples (see
    :func:`~assent.intervals.clustered_interval`).  Scores no further apart than ``tie_width`` (in the
    units of the scores) tie.

    Raises ``ValueError`` for lengths that differ, no comparison at all, scores that are not finite or a negative
    ``tie_width``.
    """
    if not len(prompt_ids) == len(scores_a) == len(scores_b):
        raise ValueError(f"{len(prompt_ids)} prompts, {len(scores_a)} scores of A, {len(scores_b)} scores of B")
    if tie_width < 0:
        raise ValueError(f"tie_width is a distance, got {tie_width}")
    gaps = np.asarray(scores_a, dtype=np.float64) - np.asarray(scores_b, dtype=np.float64)
    if not np.all(np.isfinite(gaps)):
        raise ValueError("scores must be finite")
    outcome = np.where(np.abs(gaps) <= tie_width, 0.5, gaps > 0)
    return from_outcomes(prompt_ids, outcome.tolist(), confidence)


def from_outcomes(prompt_ids: Sequence[Hashable], outcomes: Sequence[float], confidence: float = 0.95) -> WinRate:
    """The win rate of outcomes that a judge or a person gave: 1 for a win of A, 0.5 for a tie, 0 for a loss.

    Raises ``ValueError`` for any other outcome, lengths that differ or no comparison at all.
    """
    if strange := set(outcomes) - {0.0, 0.5, 1.0}:
        raise ValueError(f"an outcome is 1, 0.5 or 0, got {sorted(strange)[0]}")
    rate, low, high = clustered_interval(outcomes, prompt_ids, confidence)
    wins, ties = sum(x == 1.0 for x in outcomes), sum(x == 0.5 for x in outcomes)
    return WinRate(wins, ties, len(outcomes) - wins - ties, rate, low, high, len(outcomes))


def length_controlled(
    prompt_ids: Sequence[Hashable],
    outcomes: Sequence[float],
    lengths_a: Sequence[int],
    lengths_b: Sequence[int],
    confidence: float = 0.95,
) -> tuple[float, float, float] | None:
    """The win rate as it would be if both answers were equally long: ``(rate, low, high)``.

    A logistic regression of the outcome on ``tanh((length_a - length_b) / sd)``; the rate is its prediction at no
    difference.  Errors are clustered by prompt.  ``None`` where the outcomes do not bound the fit (one side always
    wins) or the differences of length do not vary.

    Source: Dubois et al., "Length-controlled AlpacaEval", arXiv:2404.04475 (2024), equation 2, without its term for
    the difficulty of each prompt, which needs many policies on the same prompts.
    """
    gaps = np.asarray(lengths_a, dtype=np.float64) - np.asarray(lengths_b, dtype=np.float64)
    if not len(prompt_ids) == len(outcomes) == len(gaps):
        raise ValueError(f"{len(prompt_ids)} prompts, {len(outcomes)} outcomes, {len(gaps)} pairs of lengths")
    if not gaps.std() > 0:
        return None
    features = np.stack([np.ones(len(gaps)), np.tanh(gaps / gaps.std())], axis=1)
    try:
        fit = fit_logistic(features, np.asarray(outcomes, dtype=np.float64), prompt_ids, confidence)
    except ValueError:
        return None
    rate, low, high = (float(expit(number)) for number in fit.interval(0))
    return rate, low, high


def detectable_difference(
    prompts: int,
    samples: int = 1,
    ties: float = 0.0,
    correlation: float = 0.0,
    power: float = 0.8,
    confidence: float = 0.95,
) -> float:
    """The smallest distance of a win rate from one half that so many prompts would show with probability ``power``.

    ``samples`` pairs a prompt, whose outcomes correlate by ``correlation`` within a prompt; ``ties`` is the share of
    ties expected.  By the normal approximation at one half, where the variance of an outcome is ``(1 - ties) / 4``.
    0.5 where even a rate of 1 would not be told.

    Source: Kish's design effect for the samples; Miller, "Adding error bars to evals", arXiv:2411.00640 (2024), 5.
    """
    if prompts < 1 or samples < 1 or not 0 <= ties < 1 or not 0 <= correlation <= 1:
        raise ValueError("prompts and samples are 1 or more, ties below 1 and correlation up to 1, neither below 0")
    return min(0.5, _detectable_at_one(samples, ties, correlation, power, confidence) / math.sqrt(prompts))


def prompts_needed(
    difference: float,
    samples: int = 1,
    ties: float = 0.0,
    correlation: float = 0.0,
    power: float = 0.8,
    confidence: float = 0.95,
) -> int:
    """The fewest prompts that show a win rate so far from one half: the inverse of :func:`detectable_difference`."""
    if not 0 < difference <= 0.5:
        raise ValueError(f"a win rate lies within 0.5 of one half, got a difference of {difference}")
    return math.ceil((_detectable_at_one(samples, ties, correlation, power, confidence) / difference) ** 2 - 1e-9)


def _detectable_at_one(samples: int, ties: float, correlation: float, power: float, confidence: float) -> float:
    """What a single prompt would show; it falls with the square root of their number."""
    z = float(ndtri(0.5 + confidence / 2) + ndtri(power))
    effect = 1 + (samples - 1) * correlation
    return z * math.sqrt((1 - ties) / 4 * effect / samples)
