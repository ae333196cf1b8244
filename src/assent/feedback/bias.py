"""What sways annotators besides the answers: where an answer stood on the page, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assent.feedback.votes import Floats, Votes
from assent.intervals import Estimate, clustered_interval, clustered_standard_error


@dataclass(frozen=True, slots=True)
class Bias:
    """Of one annotator, on the pairs that they decided.  A figure is ``None`` where there is no such pair."""

    first_shown: Estimate | None
    """Share of pairs in which they put the answer shown first above.  Answers are shuffled, so 0.5 is no bias."""
    longer: Estimate | None
    """Share of pairs of different length in which they put the longer answer above.  Longer answers may be better."""
    longer_than_others: Estimate | None
    """The same less the share of other annotators, on pairs that they decided too: what is this annotator's own."""


def biases(votes: Votes) -> dict[str, Bias]:
    """By annotator, with intervals of 95% over prompts."""
    prompt = votes.prompt[votes.pair]
    turned = (votes.said * np.sign(votes.shown)).astype(np.float64)
    long = (votes.said * np.sign(votes.longer)).astype(np.float64)
    excess = _excess(votes, long)
    found: dict[str, Bias] = {}
    for i, name in enumerate(votes.annotators):
        mine = votes.annotator == i
        shown, length = mine & (turned != 0), mine & (long != 0)
        apart = mine & np.isfinite(excess)
        found[name] = Bias(
            first_shown=_share(turned[shown] > 0, prompt[shown]),
            longer=_share(long[length] > 0, prompt[length]),
            longer_than_others=_mean(excess[apart], prompt[apart]),
        )
    return found


def _excess(votes: Votes, long: Floats) -> Floats:
    """[N] 1 where a vote is for the longer answer and 0 where not, less the mean of the others' votes on that pair."""
    decided, pairs = long != 0, len(votes.pairs)
    for_longer = np.bincount(votes.pair[decided], (long > 0)[decided], minlength=pairs)[votes.pair]
    others = np.bincount(votes.pair[decided], minlength=pairs)[votes.pair] - 1
    excess = np.full(len(long), np.nan)
    there = decided & (others > 0)
    mine = (long > 0).astype(np.float64)
    excess[there] = (mine - (for_longer - mine) / np.maximum(1, others))[there]
    return excess


def _share(values: np.ndarray, clusters: np.ndarray) -> Estimate | None:
    return Estimate(*clustered_interval(values.astype(np.float64), clusters.tolist())) if len(values) else None


def _mean(values: Floats, clusters: np.ndarray) -> Estimate | None:
    if len(np.unique(clusters)) < 2:
        return None
    mean, half = float(values.mean()), 1.96 * clustered_standard_error(values, clusters.tolist())
    return Estimate(mean, mean - half, mean + half)
