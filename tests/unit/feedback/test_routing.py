"""Who answers which question after a judge: by margin, by chance, by contradiction, by distrust, within a budget."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from assent.errors import DataError
from assent.feedback.questions import Question
from assent.feedback.routing import (
    Asked,
    Route,
    Verdict,
    agreed_pairs,
    first_routes,
    margin_of,
    note_of,
    overlap_agreement,
    second_routes,
    verdicts_of,
)
from assent.intervals import wilson_interval
from assent.types import Prompt, Ranking

RULES: dict[str, Any] = {"unsure_below": 0.75, "overlap_share": 0.5, "seed": 0}


def question(number: int) -> Question:
    prompt = Prompt(f"p{number}", text="Ask")
    return Question(f"q{number}", prompt, ("a", "b"), ("one", "two"), task="pairwise", instructions="People's own.")


def ranking(number: int, ranks: tuple[int, int] = (1, 2), annotator: str = "judge:j", note: str = "") -> Ranking:
    """Of the same texts in the other order: ``ranks`` are those of "two" and "one"."""
    prompt = Prompt(f"p{number}", text="Ask")
    return Ranking(
        id=f"{annotator} {number}",
        prompt=prompt,
        completion_ids=("b", "a"),
        texts=("two", "one"),
        ranks=ranks,
        annotator=annotator,
        note=note,
        kind="pairwise",
    )


def judged(margins: list[float]) -> dict[Asked, Verdict]:
    return verdicts_of((ranking(n, note=note_of(margin)) for n, margin in enumerate(margins)), "judge.jsonl")


def whys(routes: list[Route]) -> list[str]:
    return [route.why for route in routes]


def test_a_note_says_how_sure_the_judge_was() -> None:
    assert note_of(0.5, "honest") == "principle: honest; margin 0.500"
    assert margin_of(note_of(0.5, "honest")) == 0.5
    assert margin_of(note_of(1.0)) == 1.0
    assert margin_of("a margin of error") is None


def test_people_get_what_the_judge_is_unsure_of_and_a_share_of_the_rest() -> None:
    questions = [question(n) for n in range(12)]
    verdicts = judged([1.0, 0.5, 1.0, 0.0, 0.75, 1.0, 1.0, 0.8, 1.0, 1.0])  # none on the last two
    routes = first_routes(questions, verdicts, **RULES)
    assert Counter(whys(routes)) == {"judge": 4, "overlap": 4, "unsure": 2, "unjudged": 2}
    assert [routes[n].why for n in (1, 3, 10, 11)] == ["unsure", "unsure", "unjudged", "unjudged"]
    again = first_routes(questions[::-1], verdicts, **RULES)
    assert whys(again)[::-1] == whys(routes), "whatever the order"
    others = {tuple(whys(first_routes(questions, verdicts, **{**RULES, "seed": seed}))) for seed in range(8)}
    assert len(others) > 1


def test_the_overlap_is_one_at_least_unless_none_is_wanted() -> None:
    questions, verdicts = [question(n) for n in range(3)], judged([1.0] * 3)
    for share, count in ((0.0, 0), (0.01, 1), (1.0, 3)):
        routes = first_routes(questions, verdicts, unsure_below=0.75, overlap_share=share, seed=0)
        assert whys(routes).count("overlap") == count


def test_a_budget_goes_to_the_overlap_first_and_then_to_the_least_sure() -> None:
    questions = [question(n) for n in range(7)]
    verdicts = judged([1.0, 1.0, 0.5, 0.0, 0.5, 0.25])
    assert Counter(whys(first_routes(questions, verdicts, **RULES, most=4))) == {
        **{"overlap": 1, "judge": 1, "unjudged": 1, "unsure": 2, "left": 2}
    }
    routes = first_routes(questions, verdicts, **RULES, most=4)
    assert [routes[n].why for n in range(2, 7)] == ["left", "unsure", "left", "unsure", "unjudged"]
    assert Counter(whys(first_routes(questions, verdicts, **RULES, most=0))) == {"judge": 2, "left": 5}


def test_pairs_that_both_decided() -> None:
    def of(ranks: tuple[int | None, ...], ids: str = "abc") -> Ranking:
        return Ranking("r", Prompt("p", text=""), tuple(ids), tuple(ids), ranks, "x")

    assert agreed_pairs(of((1, 2, 3)), of((3, 2, 1), "cba")) == [True] * 3
    assert agreed_pairs(of((1, 2, 3)), of((1, 1, None))) == [True, True]  # the tie is left out; failed is the worst
    assert agreed_pairs(of((1, 2, 3)), of((2, 1, 3))) == [False, True, True]


def opinions(routes: list[Route], turned: int) -> dict[str, list[Ranking]]:
    """A person's answers to the overlap, so many of which contradict the judge."""
    overlap = [route.question.id for route in routes if route.why == "overlap"]
    return {
        name: [ranking(int(name[1:]), (2, 1) if place < turned else (1, 2), "eve")]
        for place, name in enumerate(overlap)
    }


def test_what_is_contradicted_is_asked_of_another_person() -> None:
    routes = first_routes([question(n) for n in range(20)], judged([1.0] * 20), **RULES)
    said = opinions(routes, 3)
    agreed = overlap_agreement(routes, said)
    assert agreed is not None
    assert agreed.value == 0.7
    # a share of 10 prompts, with the sample variance (9) and Student's quantile of 9 degrees of freedom
    assert (agreed.low, agreed.high) == pytest.approx(wilson_interval(0.7 * 9, 9, quantile=2.2621571628), abs=1e-9)
    again = second_routes(routes, said, second_opinion=True, least_agreement=0.6, each=1)
    assert Counter(whys(again)) == {"judge": 10, "overlap": 7, "contradicted": 3}
    assert overlap_agreement(again, said) == agreed
    assert second_routes(routes, said, second_opinion=False, least_agreement=0.6, each=1) == routes


def test_where_they_agree_too_little_people_are_asked_everything() -> None:
    routes = first_routes([question(n) for n in range(20)], judged([1.0] * 19 + [0.8]), **RULES)
    said = opinions(routes, 5)
    rules: dict[str, Any] = {"second_opinion": True, "least_agreement": 0.6, "each": 2}
    assert Counter(whys(second_routes(routes, said, **rules))) == {"overlap": 5, "contradicted": 5, "distrusted": 10}
    assert Counter(whys(second_routes(routes, said, **rules, most=10))) == {
        **{"overlap": 5, "contradicted": 5, "distrusted": 2, "judge": 8}
    }
    assert Counter(whys(second_routes(routes, said, **rules, most=3))) == {"overlap": 7, "contradicted": 3, "judge": 10}
    assert Counter(whys(second_routes(routes, said, **{**rules, "least_agreement": 0.5})))["distrusted"] == 0


def test_where_nothing_was_decided_by_both_nothing_is_distrusted() -> None:
    routes = first_routes([question(n) for n in range(4)], judged([1.0] * 4), **RULES)
    said = {f"q{n}": [ranking(n, (1, 1), "eve")] for n in range(4)}
    assert overlap_agreement(routes, said) is None
    assert second_routes(routes, said, second_opinion=True, least_agreement=1.0, each=1) == routes


def test_rankings_that_are_no_verdicts_are_told() -> None:
    with pytest.raises(DataError, match="by 'eve' does not say how sure it is"):
        verdicts_of([ranking(0, annotator="eve")], "judge.jsonl")
    two = [ranking(0, note=note_of(1.0)), ranking(0, annotator="judge:k", note=note_of(1.0))]
    with pytest.raises(DataError, match="two verdicts on the same answers to prompt 'p0'"):
        verdicts_of(two, "judge.jsonl")
    assert len(verdicts_of(two, "judge.jsonl", without=["judge:k"])) == 1
