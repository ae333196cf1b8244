"""Values that annotators gave to the same units, as arrays: what the coefficients of agreement are computed from."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from assent.feedback.comparisons import standings
from assent.feedback.votes import Floats, Ints, Votes
from assent.types import Judgement, Ranking


@dataclass(frozen=True)
class Ratings:
    """N values by A annotators of U units in C clusters; only units that several annotators judged."""

    annotators: tuple[str, ...]
    """[A], in alphabetical order."""
    unit: Ints
    """[N] 0 to U - 1, never falling; within a unit by annotator."""
    annotator: Ints
    """[N] index into ``annotators``."""
    value: Floats
    """[N] category, place or number."""
    cluster: Ints
    """[U] 0 to C - 1: the question of each unit; units of one question are not independent."""

    @property
    def units(self) -> int:
        return len(self.cluster)

    @property
    def clusters(self) -> int:
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0

    def counts(self) -> Ints:
        """[U, V] how many annotators gave each unit each of the V values that occur, from the smallest."""
        values, index = np.unique(self.value, return_inverse=True)
        table = np.zeros((self.units, len(values)), dtype=np.int64)
        np.add.at(table, (self.unit, index), 1)
        return table


def ratings(values: Mapping[Hashable, Mapping[str, float]], clusters: Mapping[Hashable, Hashable]) -> Ratings:
    """From unit to annotator to value, and from unit to cluster.  Units of one annotator alone are left out."""
    units = sorted((unit for unit, given in values.items() if len(given) > 1), key=repr)
    names = tuple(sorted({name for unit in units for name in values[unit]}))
    number = {name: i for i, name in enumerate(names)}
    questions = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters[unit] for unit in units))}
    rows = [(u, number[name], values[unit][name]) for u, unit in enumerate(units) for name in sorted(values[unit])]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Ratings(
        annotators=names,
        unit=table[:, 0].astype(np.int64),
        annotator=table[:, 1].astype(np.int64),
        value=table[:, 2],
        cluster=np.array([questions[clusters[unit]] for unit in units], dtype=np.int64),
    )


def places(rankings: Iterable[Ranking]) -> Ratings:
    """The place of each completion in each ranking of the same answers; a unit is one completion.

    Ties and failures share the mean of the places they span, so that a place means the same to an annotator who ties
    often and one who never does.  Of two rankings by one annotator the later counts.
    """
    found: dict[Hashable, dict[str, float]] = {}
    clusters: dict[Hashable, Hashable] = {}
    for ranking in sorted(rankings, key=lambda ranking: ranking.created):
        question = (ranking.prompt.id, ranking.criterion, tuple(sorted(ranking.completion_ids)))
        for completion, place in zip(ranking.completion_ids, rankdata(standings(ranking)), strict=True):
            found.setdefault((*question, completion), {})[ranking.annotator] = float(place)
            clusters[(*question, completion)] = question
    return ratings(found, clusters)


def pair_outcomes(votes: Votes) -> Ratings:
    """What was said of each pair, 1, 0 or -1; a unit is one pair, a cluster one prompt."""
    shared = votes.shared()
    _, cluster = np.unique(shared.prompt, return_inverse=True)
    return Ratings(votes.annotators, shared.pair, shared.annotator, shared.said.astype(np.float64), cluster)


def labels(judgements: Iterable[Judgement], criterion: str | None = None) -> Ratings:
    """The labels of single answers, of one criterion where it is given; a unit is one answer to one prompt."""
    found: dict[Hashable, dict[str, float]] = {}
    clusters: dict[Hashable, Hashable] = {}
    for item in sorted(judgements, key=lambda item: item.created):
        if criterion in (None, item.criterion):
            unit: Any = (item.prompt.id, item.criterion, item.response)
            found.setdefault(unit, {})[item.annotator] = item.label
            clusters[unit] = item.prompt.id
    return ratings(found, clusters)
