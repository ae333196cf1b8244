"""How far annotators agree on what they were both asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations

import krippendorff
import numpy as np
from scipy.stats import rankdata

from assent.feedback.comparisons import standings
from assent.types import Ranking

Shared = dict[tuple[str, frozenset[str], str], dict[str, dict[str, float]]]
"""(prompt id, completion ids, criterion) to annotator to completion id to place."""


def agreement(rankings: Iterable[Ranking]) -> dict[str, float | None]:
    """Agreement over the questions that at least two annotators ranked.

    ``krippendorff_alpha``: ordinal (Krippendorff, 2004), 1 is perfect and 0 is chance.  A unit is one completion, its
    values the places it got; ties and failures share the mean of the places they span, so that a place means the same
    to an annotator who ties often and one who never does.
    ``pairwise_agreement``: of all (pair of annotators, pair of completions), the share where both said the same of
    better, worse or equal; 0 to 1.
    ``pairwise_agreement_without_ties``: the same where neither called the pair equal; chance is 0.5.
    ``shared_questions`` and ``annotators``: how many of each went into these figures.

    A figure is ``None`` where it is not defined: no shared question; for the last share, no pair without a tie; for
    alpha, also when every answer got the same place.  Never NaN.
    """
    shared = {key: people for key, people in _by_question(rankings).items() if len(people) > 1}
    same, decided_same, decided = _pair_counts(shared)
    return {
        "krippendorff_alpha": _alpha(shared),
        "pairwise_agreement": float(np.mean(same)) if same else None,
        "pairwise_agreement_without_ties": decided_same / decided if decided else None,
        "shared_questions": float(len(shared)),
        "annotators": float(len({name for people in shared.values() for name in people})),
    }


def _by_question(rankings: Iterable[Ranking]) -> Shared:
    found: Shared = {}
    for ranking in rankings:
        places = rankdata(standings(ranking), method="average")
        key = (ranking.prompt.id, frozenset(ranking.completion_ids), ranking.criterion)
        # An annotator who ranked the same question twice counts once, with the later answer.
        found.setdefault(key, {})[ranking.annotator] = dict(
            zip(ranking.completion_ids, map(float, places), strict=True)
        )
    return found


def _alpha(shared: Shared) -> float | None:
    names = sorted({name for people in shared.values() for name in people})
    units = [(people, completion) for key, people in shared.items() for completion in sorted(key[1])]
    table = np.full((len(names), len(units)), np.nan)
    for column, (people, completion) in enumerate(units):
        for name, places in people.items():
            table[names.index(name), column] = places[completion]
    if np.unique(table[~np.isnan(table)]).size < 2:
        return None
    alpha = float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))
    return alpha if math.isfinite(alpha) else None


def _pair_counts(shared: Shared) -> tuple[list[bool], int, int]:
    """Per (annotators, completions) pair whether they agree; and agreeing and all among those without a tie."""
    same: list[bool] = []
    decided_same = decided = 0
    for (_, completions, _), people in shared.items():
        for one, other in combinations(people.values(), 2):
            for a, b in combinations(sorted(completions), 2):
                first, second = np.sign(one[a] - one[b]), np.sign(other[a] - other[b])
                same.append(bool(first == second))
                if first and second:
                    decided += 1
                    decided_same += first == second
    return same, int(decided_same), decided
