"""The figures of the dashboards: pure functions of rankings and questions, to be drawn elsewhere.

Times are seconds since the epoch, UTC.  An interval is of 95%.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from assent.feedback.agreement import Agreement, Division, agreement, division
from assent.feedback.bias import Bias, biases
from assent.feedback.comparisons import standings
from assent.feedback.competence import fit_competence
from assent.feedback.lessons import Lesson
from assent.feedback.questions import Question
from assent.feedback.reliability import Reliability, reliability_of
from assent.feedback.votes import Votes, votes_from_rankings
from assent.intervals import Estimate, wilson_interval
from assent.types import Ranking

_DAY = 86_400.0
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class AgreementPoint:
    """Agreement over the questions whose last answer came between two times."""

    start: float
    end: float
    agreement: Agreement


def agreement_over_time(rankings: Iterable[Ranking], points: int = 10) -> list[AgreementPoint]:
    """At most ``points`` spans of time, each of about as many questions that several annotators ranked."""
    groups: dict[tuple[str, str, frozenset[str]], list[Ranking]] = {}
    for ranking in rankings:
        key = (ranking.prompt.id, ranking.criterion, frozenset(ranking.completion_ids))
        groups.setdefault(key, []).append(ranking)
    shared = [group for group in groups.values() if len({ranking.annotator for ranking in group}) > 1]
    shared.sort(key=lambda group: (_last(group), group[0].prompt.id, group[0].criterion))
    spans = [span for span in np.array_split(np.arange(len(shared)), min(points, max(1, len(shared)))) if len(span)]
    out: list[AgreementPoint] = []
    for span in spans:
        members = [ranking for index in span for ranking in shared[index]]
        last = [_last(shared[index]) for index in span]
        out.append(AgreementPoint(last[0], last[-1], agreement(members, _RESAMPLES)))
    return out


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """What is known of one annotator."""

    name: str
    answers: int
    reliability: Reliability | None
    """``None``: they share no pair with another annotator."""
    bias: Bias
    ties_share: float
    """Of the pairs in their rankings."""
    failed_share: float
    """Of the answers in their rankings."""
    median_seconds: float | None
    """From question shown to answer given; ``None`` where that was never measured."""


def annotator_figures(rankings: Iterable[Ranking]) -> list[AnnotatorFigures]:
    """Of every annotator, in alphabetical order."""
    given = list(rankings)
    votes = votes_from_rankings(given)
    known, swayed = reliability_of(fit_competence(votes)), biases(votes)
    out: list[AnnotatorFigures] = []
    for index, name in enumerate(votes.annotators):
        mine = [ranking for ranking in given if ranking.annotator == name]
        ranks = [rank for ranking in mine for rank in ranking.ranks]
        times = [ranking.seconds for ranking in mine if ranking.seconds is not None]
        out.append(
            AnnotatorFigures(
                name=name,
                answers=len(mine),
                reliability=known.get(name),
                bias=swayed[name],
                ties_share=float((votes.said[votes.annotator == index] == 0).mean()),
                failed_share=sum(rank is None for rank in ranks) / len(ranks),
                median_seconds=median(times) if times else None,
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A question on which annotators differ."""

    prompt_id: str
    criterion: str
    completion_ids: tuple[str, ...]
    """[K], in alphabetical order."""
    rankings: tuple[Ranking, ...]
    """One an annotator, in alphabetical order of names."""
    split: float
    """Of all (two annotators, pair of answers), the share on which they said the opposite, each weighed by the
    competence of the two: 0 to 1.  Opposites of guessing annotators count for little."""


def disagreements(rankings: Iterable[Ranking], limit: int = 20) -> list[Disagreement]:
    """Those worth discussing, the largest ``split`` first; without those where nobody says another's opposite."""
    given = sorted(rankings, key=lambda ranking: ranking.created)
    known = reliability_of(fit_competence(votes_from_rankings(given)))
    weight = {name: max(0.0, found.competence.value) for name, found in known.items()}
    groups: dict[tuple[str, str, tuple[str, ...]], dict[str, Ranking]] = {}
    for ranking in given:
        key = (ranking.prompt.id, ranking.criterion, tuple(sorted(ranking.completion_ids)))
        groups.setdefault(key, {})[ranking.annotator] = ranking
    found = [
        Disagreement(*key, tuple(by[name] for name in sorted(by)), _split([by[name] for name in sorted(by)], weight))
        for key, by in groups.items()
    ]
    worth = [item for item in found if item.split > 0.0]
    return sorted(worth, key=lambda item: (-item.split, item.prompt_id, item.criterion))[:limit]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many people answered how many questions."""

    questions: int
    by_answers: Mapping[int, int]
    """Number of answers to number of questions with so many, from 0; adds up to ``questions``."""
    by_criterion: Mapping[str, tuple[int, int]]
    """Criterion to (questions answered at least once, questions)."""


def coverage(questions: Sequence[Question], rankings: Iterable[Ranking]) -> Coverage:
    """Of the questions of a store by its standing answers."""
    answers = _answers(questions, rankings)
    criteria: dict[str, tuple[int, int]] = {}
    for question, count in zip(questions, answers, strict=True):
        done, every = criteria.get(question.criterion, (0, 0))
        criteria[question.criterion] = (done + (count > 0), every + 1)
    return Coverage(len(questions), dict(sorted(Counter(answers).items())), dict(sorted(criteria.items())))


@dataclass(frozen=True, slots=True)
class Budget:
    """Labels that are wanted, given and left."""

    wanted: int
    given: int
    """Towards what is wanted: answers to a question beyond ``overlap`` do not count."""
    left: int
    per_day: float
    """Answers of the last seven days before ``now``, a day."""
    days_left: float | None
    """At that pace; ``None`` where nothing came in those days and some are left."""


def label_budget(
    questions: Sequence[Question], rankings: Iterable[Ranking], overlap: int, now: float, total: int | None = None
) -> Budget:
    """``overlap`` answers to each question, or ``total`` answers in all where that is fewer."""
    given = list(rankings)
    wanted = overlap * len(questions)
    done = sum(min(count, overlap) for count in _answers(questions, given))
    if total is not None:
        wanted = min(wanted, total)
        done = min(done, wanted)
    pace = sum(now - 7 * _DAY < ranking.created <= now for ranking in given) / 7
    left = wanted - done
    return Budget(wanted, done, left, pace, 0.0 if not left else left / pace if pace else None)


def group_disagreement(rankings: Iterable[Ranking], people: Mapping[str, Mapping[str, str]]) -> dict[str, Division]:
    """Per field that annotators describe themselves by (language, field of work, group), agreement by its values.

    ``people``: annotator to field to value.  Fields in which fewer than two values meet are left out.
    """
    votes = votes_from_rankings(rankings)
    fields = sorted({field for about in people.values() for field in about})
    found = {field: _divided(votes, people, field) for field in fields}
    return {field: parts for field, parts in found.items() if any(part.one != part.other for part in parts.groups)}


def _divided(votes: Votes, people: Mapping[str, Mapping[str, str]], field: str) -> Division:
    return division(votes, {name: about[field] for name, about in people.items() if about.get(field)}, _RESAMPLES)


def _last(group: Sequence[Ranking]) -> float:
    return max(ranking.created for ranking in group)


def _answers(questions: Sequence[Question], rankings: Iterable[Ranking]) -> list[int]:
    """[questions] how many annotators answered each."""
    people: dict[tuple[str, str, frozenset[str]], set[str]] = {}
    for ranking in rankings:
        key = (ranking.prompt.id, ranking.criterion, frozenset(ranking.completion_ids))
        people.setdefault(key, set()).add(ranking.annotator)
    return [
        len(people.get((question.prompt.id, question.criterion, frozenset(question.completion_ids)), ()))
        for question in questions
    ]


def _split(rankings: Sequence[Ranking], weight: Mapping[str, float]) -> float:
    order = sorted(rankings[0].completion_ids)
    signs: list[np.ndarray] = []
    for ranking in rankings:
        place = dict(zip(ranking.completion_ids, standings(ranking), strict=True))
        at = np.array([place[completion] for completion in order])
        signs.append(np.sign(at[:, None] - at[None])[np.triu_indices(len(order), 1)])
    share, pairs = 0.0, 0
    for i, one in enumerate(rankings):
        for j in range(i + 1, len(rankings)):
            both = weight.get(one.annotator, 0.0) * weight.get(rankings[j].annotator, 0.0)
            share += both * float((signs[i] * signs[j] < 0).mean())
            pairs += 1
    return share / pairs if pairs else 0.0


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """How well a reward model foresaw a span of answers, each before it learned it."""

    first: int
    last: int
    """Places of the answers among all learned, from 1."""
    accuracy: Estimate
    policy: int
    """The newest policy at the end of the span."""


def learning_curve(lessons: Sequence[Lesson], learned: int, points: int = 20, least: int = 10) -> list[LearningPoint]:
    """At most ``points`` spans of equally many of the ``lessons``, the last of the ``learned`` there are; of ``least``
    each where there are so many.  Answers that are ties count in no span."""
    decided = [
        (place, lesson, lesson.accuracy)
        for place, lesson in enumerate(lessons, learned - len(lessons) + 1)
        if lesson.accuracy is not None
    ]
    spans = np.array_split(np.arange(len(decided)), max(1, min(points, len(decided) // least)))
    out: list[LearningPoint] = []
    for span in (decided[each[0] : each[-1] + 1] for each in spans if len(each)):
        right = sum(accuracy for _, _, accuracy in span)
        low, high = wilson_interval(right, len(span))
        estimate = Estimate(right / len(span), low, high)
        out.append(LearningPoint(span[0][0], span[-1][0], estimate, span[-1][1].policy))
    return out
