"""How far annotators agree on what they were both asked: the field's coefficients, with intervals over questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from assent.feedback.ratings import Ratings, pair_outcomes, places
from assent.feedback.votes import Floats, Ints, Votes, votes_from_rankings
from assent.intervals import Estimate, bootstrap_estimate
from assent.types import Ranking

Level = Literal["nominal", "ordinal", "interval"]

RESAMPLES = 300


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the questions that at least two annotators answered.  A figure is ``None`` where it is not defined."""

    alpha: Estimate | None
    """Krippendorff's alpha of the places, ordinal: 1 is perfect, 0 is chance."""
    fleiss: Estimate | None
    """Fleiss' kappa of the pairs: first, second or equal."""
    same: Estimate | None
    """Of all (pair of annotators, pair of answers), the share where both said the same of better, worse or equal."""
    same_decided: Estimate | None
    """The same where neither called the pair equal; chance is 0.5."""
    questions: int
    """Questions, each a set of answers, that several annotators ranked."""
    annotators: int
    """Annotators who ranked them."""


def agreement(rankings: Iterable[Ranking], resamples: int = RESAMPLES) -> Agreement:
    """Of rankings.  Intervals are of 95%, by the bootstrap over questions (alpha) or prompts (the others)."""
    given = list(rankings)
    placed, votes = places(given), votes_from_rankings(given)
    met = meetings(pair_outcomes(votes))
    decided = (met.one_said != 0) & (met.other_said != 0)
    return Agreement(
        alpha=krippendorff_alpha(placed, "ordinal", resamples),
        fleiss=fleiss_kappa(pair_outcomes(votes), resamples),
        same=met.share(np.ones(len(met.same), dtype=bool), resamples),
        same_decided=met.share(decided, resamples),
        questions=placed.clusters,
        annotators=len(placed.annotators),
    )


def krippendorff_alpha(table: Ratings, level: Level, resamples: int = RESAMPLES) -> Estimate | None:
    """Krippendorff's alpha (2004, "Content analysis", chapter 11); ``None`` where all values are the same.

    ``level``: values are categories (nominal), places (ordinal) or numbers (interval).
    """
    counts = table.counts().astype(np.float64)
    values = np.unique(table.value)
    each = counts.sum(axis=1, keepdims=True) - 1.0
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    met = np.zeros((table.clusters, len(values) ** 2))  # coincidences by question
    np.add.at(met, table.cluster, (pairs / np.maximum(1.0, each)[:, :, None]).reshape(len(counts), len(values) ** 2))

    def alpha(drawn: Floats) -> float | None:
        seen = (drawn @ met).reshape(len(values), len(values))
        often = seen.sum(axis=1)
        apart = _distances(level, values, often)
        chance = float(often @ apart @ often)
        return 1.0 - (float(often.sum()) - 1.0) * float((seen * apart).sum()) / chance if chance > 0.0 else None

    return bootstrap_estimate(alpha, table.clusters, resamples)


def _distances(level: Level, values: Floats, often: Floats) -> Floats:
    """[V, V] squared differences between the values, which occur ``often`` [V]."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values[None]) ** 2
    # ordinal: how many values lie between two, and half of the two themselves
    below = np.cumsum(often) - 0.5 * often
    return (below[:, None] - below[None]) ** 2


def fleiss_kappa(table: Ratings, resamples: int = RESAMPLES) -> Estimate | None:
    """Fleiss' kappa (1971, Psychol. Bull. 76, 378-382) of categories; ``None`` where all are the same.

    Units may differ in how many annotators they have: each weighs the same in the agreement observed, each value the
    same in the agreement by chance.
    """
    counts = table.counts().astype(np.float64)
    each = counts.sum(axis=1)
    seen = ((counts * (counts - 1.0)).sum(axis=1) / np.maximum(1.0, each * (each - 1.0))) if len(counts) else each

    # Sums by question, so that a resample costs no more than there are questions.
    parts = np.column_stack([counts, seen, np.ones(len(seen))])
    sums = np.zeros((table.clusters, parts.shape[1]))
    np.add.at(sums, table.cluster, parts)

    def kappa(drawn: Floats) -> float | None:
        *given, agreed, units = drawn @ sums
        shares = np.array(given) / sum(given)
        chance = float((shares * shares).sum())
        return None if chance >= 1.0 - 1e-12 else (float(agreed / units) - chance) / (1.0 - chance)

    return bootstrap_estimate(kappa, table.clusters, resamples)


@dataclass(frozen=True, slots=True)
class Meetings:
    """M times that two annotators judged the same unit, of all C clusters."""

    one: Ints
    """[M] the annotator who comes first in the alphabet."""
    other: Ints
    one_said: Floats
    """[M] the values they gave."""
    other_said: Floats
    cluster: Ints
    """[M]"""
    clusters: int

    @property
    def same(self) -> np.ndarray:
        """[M] bool, whether both gave the same value."""
        return self.one_said == self.other_said

    def share(self, among: np.ndarray, resamples: int = RESAMPLES) -> Estimate | None:
        """Share of ``same`` among some of the meetings [M] bool; ``None`` where there are none."""
        there = np.bincount(self.cluster[among], minlength=self.clusters).astype(np.float64)
        same = np.bincount(self.cluster[among & self.same], minlength=self.clusters).astype(np.float64)

        def ratio(drawn: Floats) -> float | None:
            total = float(drawn @ there)
            return float(drawn @ same) / total if total else None

        return bootstrap_estimate(ratio, self.clusters, resamples)


def meetings(table: Ratings) -> Meetings:
    """All pairs of annotators on each unit."""
    ends = np.searchsorted(table.unit, np.arange(table.units + 1))
    sizes = np.diff(ends)
    one: list[Ints] = []
    other: list[Ints] = []
    for size in np.unique(sizes):
        first, second = np.triu_indices(int(size), 1)
        start = ends[:-1][sizes == size][:, None]
        one.append((start + first).ravel())
        other.append((start + second).ravel())
    left = np.concatenate(one) if one else np.zeros(0, dtype=np.int64)
    right = np.concatenate(other) if other else np.zeros(0, dtype=np.int64)
    return Meetings(
        one=table.annotator[left],
        other=table.annotator[right],
        one_said=table.value[left],
        other_said=table.value[right],
        cluster=table.cluster[table.unit[left]] if table.units else left,
        clusters=table.clusters,
    )


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two annotators on what both judged."""

    one: str
    other: str
    same: Estimate
    """Share of units on which both said the same."""
    kappa: float | None
    """Cohen's kappa (1960, Educ. Psychol. Meas. 20, 37-46); ``None`` where both always gave one value."""
    units: int


def pairwise_agreement(table: Ratings, resamples: int = RESAMPLES) -> list[Meeting]:
    """Each two annotators who judged a unit in common."""
    met = meetings(table)
    found: list[Meeting] = []
    for i, j in sorted(set(zip(met.one.tolist(), met.other.tolist(), strict=True))):
        here = (met.one == i) & (met.other == j)
        same = met.share(here, resamples)
        assert same is not None  # they met
        kappa = cohen_kappa(met.one_said[here], met.other_said[here])
        found.append(Meeting(table.annotators[i], table.annotators[j], same, kappa, int(here.sum())))
    return found


def cohen_kappa(one: Floats, other: Floats) -> float | None:
    """Agreement of two annotators [n] beyond chance, each with their own rates of the values."""
    values = np.unique(np.concatenate([one, other]))
    chance = float(((one[:, None] == values).mean(axis=0) * (other[:, None] == values).mean(axis=0)).sum())
    return None if chance >= 1.0 - 1e-12 else (float((one == other).mean()) - chance) / (1.0 - chance)


@dataclass(frozen=True, slots=True)
class GroupAgreement:
    """Annotators of one group against those of another, or among themselves where ``one`` is ``other``."""

    one: str
    other: str
    same: Estimate
    meetings: int


@dataclass(frozen=True, slots=True)
class Division:
    """Whether annotators agree less across groups than within."""

    groups: tuple[GroupAgreement, ...]
    gap: Estimate | None
    """Share of same answers within groups less that across them: above 0 with its interval, the groups see it
    differently, and an average hides that.  ``None`` where there is only one or the other."""


def division(votes: Votes, groups: Mapping[str, str], resamples: int = RESAMPLES) -> Division:
    """Agreement on pairs by group; ``groups`` from annotator to group, those without one are left out."""
    table = pair_outcomes(votes)
    met = meetings(table)
    names = sorted(set(groups.values()))
    number = np.array([names.index(groups[name]) if name in groups else -1 for name in table.annotators], dtype=int)
    left, right = number[met.one], number[met.other]
    low, high = np.minimum(left, right), np.maximum(left, right)
    known = low >= 0
    found: list[GroupAgreement] = []
    for i, one in enumerate(names):
        for j in range(i, len(names)):
            here = known & (low == i) & (high == j)
            same = met.share(here, resamples)
            if same is not None:
                found.append(GroupAgreement(one, names[j], same, int(here.sum())))
    return Division(tuple(found), _gap(met, known & (low == high), known & (low != high), resamples))


def _gap(met: Meetings, within: np.ndarray, across: np.ndarray, resamples: int) -> Estimate | None:
    def sums(of: np.ndarray) -> Floats:
        return np.bincount(met.cluster[of], minlength=met.clusters).astype(np.float64)

    tables = [sums(within & met.same), sums(within), sums(across & met.same), sums(across)]

    def gap(drawn: Floats) -> float | None:
        same, there, other_same, other_there = (float(drawn @ table) for table in tables)
        return same / there - other_same / other_there if there and other_there else None

    return bootstrap_estimate(gap, met.clusters, resamples)
