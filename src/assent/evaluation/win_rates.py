"""Win rates between two policies on the same prompts, with intervals that allow for several samples a prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

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
