"""How often each annotator is right of two answers, judged by what all say of the same pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from assent.feedback.comparisons import standings
from assent.types import Ranking

_RIGHT, _WRONG = 4.0, 1.0
"""Beta prior of an annotator's probability of being right: five pairs' worth of belief in 4 of 5."""
_RESAMPLES = 200

_Pair = tuple[str, str, str, str]
"""Prompt id, criterion, and two completion ids in alphabetical order."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of one annotator."""

    right: float
    """Probability of putting the better of two answers above the other."""
    low: float
    high: float
    """An interval of about 95%, by resampling prompts."""
    pairs: int
    """How many pairs the annotator decided that another decided too."""


def reliability(rankings: Iterable[Ranking]) -> dict[str, Reliability]:
    """By annotator, of those who decided pairs of answers that others decided too; the rest are left out.

    Dawid and Skene 1979 (Appl. Statist. 28, 20-28) with one number per annotator, by expectation-maximisation: which
    answer of a pair is the better is hidden, either as likely at first; an annotator says it with probability
    ``right``, whichever it is.  A Beta(4, 1) prior keeps few pairs from saying much, and ``right`` above 1/2 is the
    majority's side.  Ties say nothing of an order and are left out.  Two annotators alone cannot be told apart, and get
    the same number; hardly can two of three, where the third is near chance.  Pairs of one ranking are taken as
    independent in the estimate, and not in the interval, which resamples whole prompts; in simulations of three
    annotators it held the truth in 83 to 96 of 100 cases, and less often where 30 pairs were all there was.
    """
    votes = {pair: said for pair, said in sorted(_votes(rankings).items()) if len(said) > 1}
    names = sorted({name for said in votes.values() for name in said})
    prompts = sorted({pair[0] for pair in votes})
    if not names:
        return {}
    table = np.zeros((len(votes), len(names)))
    for row, said in enumerate(votes.values()):
        for name, vote in said.items():
            table[row, names.index(name)] = vote
    prompt_of = np.array([prompts.index(pair[0]) for pair in votes])
    right = _estimate(table, np.ones(len(votes)), np.full(len(names), _RIGHT / (_RIGHT + _WRONG)))
    draw = np.random.Generator(np.random.Philox(0))
    even = np.full(len(prompts), 1.0 / len(prompts))
    counts = draw.multinomial(len(prompts), even, size=_RESAMPLES)
    again = np.array([_estimate(table, drawn[prompt_of].astype(float), right) for drawn in counts])
    low, high = np.quantile(again, [0.025, 0.975], axis=0)
    decided = np.count_nonzero(table, axis=0)
    return {
        name: Reliability(float(right[i]), float(low[i]), float(high[i]), int(decided[i]))
        for i, name in enumerate(names)
    }


def _votes(rankings: Iterable[Ranking]) -> dict[_Pair, dict[str, float]]:
    """What each annotator says of each pair without tie: 1 the first, -1 the second.  The later ranking counts."""
    found: dict[_Pair, dict[str, float]] = {}
    for ranking in rankings:
        place = dict(zip(ranking.completion_ids, standings(ranking), strict=True))
        for first, second in combinations(sorted(place), 2):
            said = found.setdefault((ranking.prompt.id, ranking.criterion, first, second), {})
            said.pop(ranking.annotator, None)
            if place[first] != place[second]:
                said[ranking.annotator] = 1.0 if place[first] < place[second] else -1.0
    return found


def _estimate(table: np.ndarray, weights: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``right`` [A] from votes [pairs, A] (1, -1, and 0 where none was given) and the weight of each pair [pairs]."""
    first, second = table > 0, table < 0
    given = weights @ (first | second)
    for _ in range(500):
        odds = table @ (np.log(right) - np.log1p(-right))
        truth = 1.0 / (1.0 + np.exp(-odds))  # that the first of the pair is the better
        agreed = (weights * truth) @ first + (weights * (1.0 - truth)) @ second
        before, right = right, (agreed + _RIGHT) / (given + _RIGHT + _WRONG)
        if float(np.abs(right - before).max()) < 1e-5:
            break
    return right
