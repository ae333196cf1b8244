"""Who answers which question where a judge answers first: people get those it is unsure of, and an overlap with it.

What the judge is sure of stands, and a random share of that, the overlap, is asked of people too: the judge's weight on
what it answers alone is learned there, which answers chosen by its doubts would make too small.  Where a person
contradicts the judge another person is asked.  That is chosen by what was said before alone, so that a model of all
votes on a pair (:mod:`assent.feedback.competence`) is not biased by it (Rubin 1976, Biometrika 63, 581-592), and it
tells the judge's competence from people's, which agreement between two does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from assent.errors import DataError
from assent.feedback.comparisons import standings
from assent.feedback.questions import Question, subject_of
from assent.intervals import Estimate, clustered_interval
from assent.types import Ranking, short_id

Why = Literal["judge", "overlap", "contradicted", "distrusted", "unsure", "unjudged", "left"]
"""judge: it alone; overlap: people too, by chance; contradicted: a second person too; distrusted: people too, since
judge and people agree too little; unsure, unjudged: people instead; left: nobody, since the budget is spent."""
STANDS: frozenset[Why] = frozenset({"judge", "overlap", "contradicted", "distrusted"})
"""Where the judge's verdict counts."""
ASKED: frozenset[Why] = frozenset({"overlap", "contradicted", "distrusted", "unsure", "unjudged"})
"""What people are asked."""
_MARGIN = re.compile(r"\bmargin ([01]\.\d{3})$")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one question."""

    ranking: Ranking
    margin: float
    """0 (a toss-up, or turned around with the order of the answers) to 1 (each pair decided alike in both orders)."""


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers one question."""

    question: Question
    why: Why
    verdict: Verdict | None
    """``None`` where it is unjudged, and of what is left without one."""


Asked = tuple[str, frozenset[tuple[str, str]], str]


def note_of(margin: float, principle: str = "") -> str:
    """The note of a judge's answer; :func:`margin_of` reads the margin back."""
    return "; ".join([*([f"principle: {principle}"] if principle else []), f"margin {margin:.3f}"])


def margin_of(note: str) -> float | None:
    """The margin that a judge's note says; ``None`` where it says none."""
    found = _MARGIN.search(note)
    return float(found[1]) if found else None


def verdicts_of(rankings: Iterable[Ranking], source: str, without: Collection[str] = ()) -> dict[Asked, Verdict]:
    """A judge's verdicts by what they are on.

    Raises :class:`DataError` for a ranking without a margin, and for a second one of the same answers.
    """
    found: dict[Asked, Verdict] = {}
    for ranking in rankings:
        if ranking.annotator in without:
            continue
        margin = margin_of(ranking.note)
        if margin is None:
            raise DataError(
                f"the ranking {ranking.id} by '{ranking.annotator}' does not say how sure it is; give the "
                "rankings.jsonl of the stage judge",
                source,
            )
        key = subject_of(ranking.prompt.id, ranking.completion_ids, ranking.texts, ranking.criterion)
        if key in found:
            raise DataError(
                f"two verdicts on the same answers to prompt '{ranking.prompt.id}', {found[key].ranking.id} and "
                f"{ranking.id}; give one judge",
                source,
            )
        found[key] = Verdict(ranking, margin)
    return found


def first_routes(
    questions: Sequence[Question],
    verdicts: Mapping[Asked, Verdict],
    *,
    unsure_below: float,
    overlap_share: float,
    seed: int,
    most: int | None = None,
) -> list[Route]:
    """Who answers each question, before people have said anything.

    The overlap is that share of what the judge is sure of, one at least unless the share is 0.  ``most``: people are
    asked so many questions, the overlap first and then the least sure; ``None`` = all that they should be.
    """
    known = [verdicts.get(subject_of(q.prompt.id, q.completion_ids, q.texts, q.criterion)) for q in questions]
    sure = {i for i, verdict in enumerate(known) if verdict is not None and verdict.margin >= unsure_below}
    doubtful = sorted(set(range(len(questions))) - sure, key=lambda i: (_margin(known[i]), i))
    count = max(1, round(overlap_share * len(sure))) if overlap_share and sure else 0
    drawn = sorted(sure, key=lambda i: short_id("overlap", seed, questions[i].id))[:count]
    asked = set([*drawn, *doubtful][:most])

    def why(i: int) -> Why:
        if i not in sure:
            return "left" if i not in asked else "unjudged" if known[i] is None else "unsure"
        return "overlap" if i in asked else "judge"

    return [Route(question, why(i), known[i]) for i, question in enumerate(questions)]


def second_routes(
    routes: Sequence[Route],
    opinions: Mapping[str, Sequence[Ranking]],
    *,
    second_opinion: bool,
    least_agreement: float,
    each: int,
    most: int | None = None,
) -> list[Route]:
    """The same once people answered what they were asked; ``opinions``: question id to what they said first.

    ``second_opinion``: what people contradict the judge on goes to another person.  Where people and the judge agree on
    less than ``least_agreement`` of the overlap, all the judge's questions go to ``each`` people too, the least sure
    first.  ``most``: answers that are left to ask for; ``None`` = no limit.
    """
    left = float("inf") if most is None else float(most)
    agreed = overlap_agreement(routes, opinions)
    distrust = agreed is not None and agreed.value < least_agreement
    changed: dict[str, Why] = {}
    for route in routes:
        if second_opinion and left >= 1 and _contradicted(route, opinions):
            changed[route.question.id] = "contradicted"
            left -= 1
    for route in sorted(routes, key=lambda route: _margin(route.verdict)):
        if distrust and route.why == "judge" and left >= each:
            changed[route.question.id] = "distrusted"
            left -= each
    return [replace(route, why=changed.get(route.question.id, route.why)) for route in routes]


def overlap_agreement(routes: Sequence[Route], opinions: Mapping[str, Sequence[Ranking]]) -> Estimate | None:
    """Share of the overlap's pairs on which people say first what the judge says, ties left out.

    Wilson's interval of 95%, over prompts.  ``None`` where no pair was decided by both.
    """
    found = [(same, route.question.prompt.id) for route in routes for same in _met(route, opinions)]
    if not found:
        return None
    values, prompts = zip(*found, strict=True)
    return Estimate(*clustered_interval([float(same) for same in values], prompts))


def agreed_pairs(one: Ranking, other: Ranking) -> list[bool]:
    """Of each two answers that both put in an order: whether it is the same order."""
    first = dict(zip(one.completion_ids, standings(one), strict=True))
    second = dict(zip(other.completion_ids, standings(other), strict=True))
    pairs = combinations(sorted(set(first) & set(second)), 2)
    said = [(first[i] - first[j], second[i] - second[j]) for i, j in pairs]
    return [(a > 0) == (b > 0) for a, b in said if a and b]


def _met(route: Route, opinions: Mapping[str, Sequence[Ranking]]) -> list[bool]:
    """Whether people and the judge say the same, by pair of the overlap's answers."""
    if route.verdict is None or route.why not in ("overlap", "contradicted"):
        return []
    return [same for said in opinions.get(route.question.id, ()) for same in agreed_pairs(route.verdict.ranking, said)]


def _contradicted(route: Route, opinions: Mapping[str, Sequence[Ranking]]) -> bool:
    """Whether people turn around more of the judge's pairs than they leave."""
    same = _met(route, opinions)
    return 2 * sum(same) < len(same)


def _margin(verdict: Verdict | None) -> float:
    return -1.0 if verdict is None else verdict.margin
