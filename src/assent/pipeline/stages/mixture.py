"""Mixing a judge's answers with people's: what of a collect stage's questions goes to whom, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_rankings
from assent.errors import DataError
from assent.feedback.answers import StoredAnswer
from assent.feedback.questions import Question
from assent.feedback.routing import (
    ASKED,
    STANDS,
    Route,
    first_routes,
    overlap_agreement,
    second_routes,
    verdicts_of,
)
from assent.feedback.store import FeedbackStore
from assent.pipeline.stage import Input
from assent.pipeline.stages.answers import content
from assent.types import Ranking


class MixtureSettings(Settings):
    """A judge first, people where they are needed."""

    judged: str | None = Input(
        "data",
        None,
        "Rankings by a judge of the same completions, rankings.jsonl of the stage judge: they stand where it is sure, "
        "and people are asked where it is not, and of an overlap; unset = people are asked everything",
    )
    unsure_below: float = Field(default=0.75, ge=0.0, le=1.0)
    """Of judged: the margin below which people are asked instead: 1 = the judge decided each two answers, and alike in
    both orders; 0 = none of them."""
    overlap_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """Of judged: the share of what the judge is sure of that people are asked too, drawn at random; its weight is
    learned there."""
    second_opinion: bool = True
    """Of judged: ask another person where people turn around most of what the judge says of the overlap."""
    least_agreement: float = Field(default=0.6, ge=0.0, le=1.0)
    """Of judged: agreement of people with the judge on the overlap below which people are asked everything; 0 = never,
    0.5 is chance."""


Ask = Callable[[Sequence[Question], Mapping[str, int]], None]
"""Have questions answered, each by so many annotators; raises where that must be waited for."""


@dataclass(frozen=True)
class Mixture:
    """What became of a collect stage's questions."""

    routes: Sequence[Route]
    said: Mapping[str, Sequence[StoredAnswer]]
    """Question id -> people's answers, oldest first."""
    opinions: Mapping[str, Sequence[Ranking]]
    """Question id -> what people said before second opinions were asked for."""

    @property
    def verdicts(self) -> list[Ranking]:
        """The judge's rankings that stand."""
        return [route.verdict.ranking for route in self.routes if route.verdict and route.why in STANDS]

    @property
    def answered(self) -> int:
        """Questions that anybody's answer stands on."""
        return sum(route.why in STANDS or bool(self.said.get(route.question.id)) for route in self.routes)

    def figures(self) -> dict[str, float | int]:
        """How much was asked of whom, and how far they agree."""
        why = Counter(route.why for route in self.routes)
        found: dict[str, float | int] = {
            "judge_asked": sum(route.verdict is not None for route in self.routes),
            "judge_alone": why["judge"],
            "people_asked": sum(count for name, count in why.items() if name in ASKED),
            "people_answers": sum(map(len, self.said.values())),
            "overlap": why["overlap"] + why["contradicted"],
            **{name: why[name] for name in ("unsure", "unjudged", "contradicted", "distrusted", "left")},
        }
        agreed = overlap_agreement(self.routes, self.opinions)
        if agreed is not None:
            found |= {"agreement": agreed.value, "agreement_low": agreed.low, "agreement_high": agreed.high}
        return found

    def write(self, path: Path) -> None:
        """A row for each question: who was asked, why, and who answered."""
        write_jsonl(path, map(self._row, self.routes))

    def _row(self, route: Route) -> dict[str, object]:
        judge = {"margin": route.verdict.margin, "judge": route.verdict.ranking.id} if route.verdict else {}
        people = [f"{route.question.id}:{answer.event}" for answer in self.said.get(route.question.id, ())]
        return {
            "question": route.question.id,
            "prompt_id": route.question.prompt.id,
            "why": route.why,
            **judge,
            "people": people,
        }


def ask_after_judge(
    store: FeedbackStore,
    questions: Sequence[Question],
    settings: MixtureSettings,
    *,
    seed: int,
    each: int,
    budget: int | None,
    without: Sequence[str],
    ask: Ask,
    answers: Callable[[Sequence[Question]], Sequence[StoredAnswer]],
) -> Mixture:
    """Ask people what the judge leaves to them, ``each`` question of so many, in two turns: what they say in the first
    tells what more is asked in the second.

    ``budget``: answers that people give at most.  ``answers``: theirs to some questions so far, oldest first.  Raises
    what ``ask`` raises.
    """
    source = str(settings.judged)
    verdicts = verdicts_of(read_rankings(source), source, without)
    routes = first_routes(
        questions,
        verdicts,
        unsure_below=settings.unsure_below,
        overlap_share=settings.overlap_share,
        seed=seed,
        most=None if budget is None else budget // each,
    )
    if not without and not any(route.verdict for route in routes):
        raise DataError("its judge ranked none of these answers; give the rankings of the completions in data", source)
    first = _asked_in(routes)
    needs = {question.id: each for question in first}
    store.add_questions(replace(question, overlap=each) for question in first)
    ask(first, needs)
    opinions = {name: _rankings(given[:each]) for name, given in _by_question(answers(first), first).items()}
    routes = second_routes(
        routes,
        opinions,
        second_opinion=settings.second_opinion,
        least_agreement=settings.least_agreement,
        each=each,
        most=None if budget is None else budget - each * len(first),
    )
    every = [*first, *(question for question in _asked_in(routes) if question.id not in needs)]
    again = {route.question.id: each + 1 for route in routes if route.why == "contradicted"}
    needs = dict.fromkeys((question.id for question in every), each) | again
    store.add_questions(replace(question, overlap=each) for question in every[len(first) :])
    store.work.set_overlaps(_raised(store, again))
    ask(every, needs)
    return Mixture(routes, _by_question(answers(every), every), opinions)


def _asked_in(routes: Sequence[Route]) -> list[Question]:
    return [route.question for route in routes if route.why in ASKED]


def _raised(store: FeedbackStore, overlaps: Mapping[str, int]) -> dict[str, int]:
    """Those of the overlaps that are not so in the store yet."""
    known = store.find_questions(overlaps)
    return {name: people for name, people in overlaps.items() if known[name].overlap != people}


def _by_question(given: Sequence[StoredAnswer], questions: Sequence[Question]) -> dict[str, list[StoredAnswer]]:
    """The answers by the id of the question of theirs, which may have been asked in other words."""
    number = {content(question): question.id for question in questions}
    found: dict[str, list[StoredAnswer]] = {}
    for answer in given:
        found.setdefault(number[content(answer.question)], []).append(answer)
    return found


def _rankings(given: Sequence[StoredAnswer]) -> list[Ranking]:
    return [ranking for answer in given if (ranking := answer.ranking()) is not None]
