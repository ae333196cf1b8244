"""One comparison out of what several annotators say of a pair: by majority, or by the model of their competence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from assent.feedback.comparisons import comparisons_from_rankings, judged_pairs, standings
from assent.feedback.competence import Competence, fit_competence, nodes
from assent.feedback.votes import PairKey, votes_from_rankings
from assent.types import Comparison, Prompt, Ranking, short_id

Adjudication = Literal["all", "weighted", "majority", "model"]


def adjudicate(rankings: Sequence[Ranking], how: Adjudication, fit: Competence | None = None) -> list[Comparison]:
    """Rankings to comparisons.

    ``all``: every annotator's own pairs, each ranking of the same weight.
    ``weighted``: the same, times the annotator's competence; those at 0 or below are left out.  To first order around
    equal answers this is the likelihood of Chen et al. 2013 (:mod:`assent.feedback.competence`).
    ``majority``: one comparison a pair of answers, for what most of those who saw a difference say; as many on either
    side are a tie.  ``margin`` is the mean difference of ranks.
    ``model``: one comparison a pair, for the likelier order; ``confidence`` is its probability given all votes on the
    pair, and ``weight`` is multiplied by how much they say of the gap between the two answers: 1 - variance given the
    votes / variance before.  Annotators who turn things around count the other way round.  ``margin`` is the gap
    expected, in logits.

    One comparison a pair carries no annotator, and the rankings behind it as ``sources``; its group are the answers
    of the largest ranking that it is from.  ``fit``: the competence of annotators, of these rankings unless given.
    """
    if how == "all":
        return comparisons_from_rankings(rankings)
    if how == "majority":
        return _majority(rankings)
    fitted = fit_competence(votes_from_rankings(rankings)) if fit is None else fit
    return _weighted(rankings, fitted) if how == "weighted" else _by_model(rankings, fitted)


def _weighted(rankings: Sequence[Ranking], fit: Competence) -> list[Comparison]:
    worth = {name: fit.competence(name) for name in {ranking.annotator for ranking in rankings}}
    made = comparisons_from_rankings([ranking for ranking in rankings if worth[ranking.annotator] > 0.0])
    return [replace(pair, weight=pair.weight * worth[pair.annotator]) for pair in made]


def _majority(rankings: Sequence[Ranking]) -> list[Comparison]:
    votes, known = votes_from_rankings(rankings), _pairs(rankings)
    sides = np.sign(np.bincount(votes.pair, votes.said, minlength=len(votes.pairs)))
    found = [(known[key], float(side)) for key, side in zip(votes.pairs, sides, strict=True)]
    return [pair.comparison("majority", side, margin=max(0.0, side * pair.lead)) for pair, side in found]


def _by_model(rankings: Sequence[Ranking], fit: Competence) -> list[Comparison]:
    votes, known = votes_from_rankings(rankings), _pairs(rankings)
    gaps, held = nodes(fit.spread), fit.posterior(votes)
    first, mean = held[:, gaps > 0].sum(axis=1), held @ gaps
    told = (1.0 - (held @ gaps**2 - mean**2) / float((gaps**2).mean())).clip(_LEAST)
    out: list[Comparison] = []
    for p, key in enumerate(votes.pairs):
        sure = max(float(first[p]), 1.0 - float(first[p]))
        side = 0.0 if sure < 0.5 + 1e-9 else float(np.sign(first[p] - 0.5))
        margin = max(0.0, side * float(mean[p]))
        out.append(known[key].comparison("model", side, margin, min(1.0, sure) if side else 1.0, float(told[p])))
    return out


_LEAST = 1e-3
"""Votes that say nothing weigh this: not 0, which a mean over their batch could not be divided by."""


@dataclass
class _Pair:
    """Two answers and all that is needed to write a comparison of them."""

    key: PairKey
    prompt: Prompt
    texts: tuple[str, str]
    answers: tuple[str, ...] = ()
    """Ids of the largest ranking's answers."""
    sources: dict[str, str] = field(default_factory=dict[str, str])
    """Annotator to the ranking that counts."""
    steps: dict[str, float] = field(default_factory=dict[str, float])
    """Annotator to how many ranks the first stands above the second, or how strongly it is preferred."""
    weight: float = 1.0
    """1 over the pairs of its group."""

    @property
    def group(self) -> str:
        return short_id(self.prompt.id, self.key[1], self.answers)

    @property
    def lead(self) -> float:
        """Mean number of ranks by which the first stands above the second."""
        return sum(self.steps.values()) / len(self.steps)

    def comparison(
        self, how: str, side: float, margin: float, confidence: float = 1.0, share: float = 1.0
    ) -> Comparison:
        """``side``: 1 for the first answer, -1 for the second, 0 for a tie."""
        chosen, rejected = self.texts if side >= 0 else self.texts[::-1]
        return Comparison(
            id=f"{self.group}.{short_id(how, *self.key[2:])}",
            prompt=self.prompt,
            chosen=chosen,
            rejected=rejected,
            tie=side == 0.0,
            margin=margin if side else 0.0,
            weight=share * self.weight,
            confidence=confidence,
            criterion=self.key[1],
            group=self.group,
            sources=tuple(sorted(self.sources.values())),
        )


def _pairs(rankings: Sequence[Ranking]) -> dict[PairKey, _Pair]:
    found: dict[PairKey, _Pair] = {}
    for ranking in sorted(rankings, key=lambda ranking: ranking.created):
        ids, place, answers = ranking.completion_ids, standings(ranking), tuple(sorted(ranking.completion_ids))
        for one, other in judged_pairs(ranking):
            i, j = (one, other) if ids[one] <= ids[other] else (other, one)
            key = (ranking.prompt.id, ranking.criterion, ids[i], ids[j])
            pair = found.setdefault(key, _Pair(key, ranking.prompt, (ranking.texts[i], ranking.texts[j])))
            pair.answers = max(pair.answers, answers, key=lambda ids: (len(ids), ids))
            pair.sources[ranking.annotator] = ranking.id
            steps = place[j] - place[i]
            pair.steps[ranking.annotator] = steps * (1.0 if ranking.strength is None else ranking.strength)
    groups = Counter(pair.group for pair in found.values())
    for pair in found.values():
        pair.weight = 1.0 / groups[pair.group]
    return found
