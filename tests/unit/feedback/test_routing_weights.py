"""What the overlap teaches of a judge's weight: 1,500 pairs of known worth, a simulated judge, and three people."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from assent.feedback.questions import Question
from assent.feedback.reliability import Reliability, reliability
from assent.feedback.routing import ASKED, STANDS, first_routes, note_of, second_routes, verdicts_of
from assent.feedback.simulate import SimulatedAnnotator
from assent.rewards.judge import JudgeSettings
from assent.rewards.simulated_judge import SimulatedJudge
from assent.types import Prompt, Ranking

PAIRS, PEOPLE = 1500, 3


def learned(judge_noise: float, people_noise: float, second_opinion: bool) -> tuple[Mapping[str, Reliability], float]:
    """The reliability of all, and how often the judge is right on what it is sure of."""
    worth = np.random.default_rng(0).normal(size=(PAIRS, 2))
    texts = [(str(one), str(other)) for one, other in worth]
    prompts = [Prompt(f"p{i}", text=f"{i}") for i in range(PAIRS)]
    questions = [Question(f"q{i}", prompts[i], ("a", "b"), texts[i], task="pairwise") for i in range(PAIRS)]
    settings = JudgeSettings(url="none", served_name="none")
    judge = SimulatedJudge(settings, SimulatedAnnotator("simulated:j", judge_noise), lambda _, text: float(text))
    judged = judge.all([(prompts[i], texts[i]) for i in range(PAIRS)])

    def ranking(i: int, name: str, ahead: float, note: str = "") -> Ranking:
        ranks = (1, 2) if ahead > 0 else (2, 1) if ahead < 0 else (1, 1)
        return Ranking(f"{name} {i}", prompts[i], ("a", "b"), texts[i], ranks, name, note=note, kind="pairwise")

    def said(i: int, turn: int) -> Ranking:
        person = SimulatedAnnotator(f"simulated:{(i + turn) % PEOPLE}", people_noise)
        return ranking(i, person.name, -person.prefer(f"q{i}", list(worth[i])))

    verdicts = [
        ranking(i, "judge:j", one.values[0] - one.values[1], note_of(one.margin)) for i, one in enumerate(judged)
    ]
    routes = first_routes(questions, verdicts_of(verdicts, "judge"), unsure_below=0.75, overlap_share=0.25, seed=0)
    opinions = {f"q{i}": [said(i, 0)] for i, route in enumerate(routes) if route.why in ASKED}
    last = second_routes(routes, opinions, second_opinion=second_opinion, least_agreement=0.0, each=1)
    given = [one for found in opinions.values() for one in found]
    given += [said(i, 1) for i, route in enumerate(last) if route.why == "contradicted"]
    given += [route.verdict.ranking for route in last if route.verdict and route.why in STANDS]
    sure = [i for i, route in enumerate(routes) if route.why in STANDS]
    right = [(judged[i].values[0] > judged[i].values[1]) == (worth[i, 0] > worth[i, 1]) for i in sure]
    return reliability(given), float(np.mean(right))


def test_a_judge_that_is_worse_than_people_weighs_less_and_one_that_is_better_more() -> None:
    worse, right = learned(judge_noise=1.0, people_noise=0.3, second_opinion=True)
    assert worse["judge:j"].right.value == pytest.approx(right, abs=0.03)
    assert worse["judge:j"].right.low < right < worse["judge:j"].right.high
    assert worse["judge:j"].right.value < _people(worse)
    better, _ = learned(judge_noise=0.3, people_noise=1.0, second_opinion=True)
    assert better["judge:j"].right.value > _people(better)


def _people(found: Mapping[str, Reliability]) -> float:
    return float(np.mean([found[f"simulated:{n}"].right.value for n in range(PEOPLE)]))


def test_second_opinions_tell_the_judge_from_people() -> None:
    (with_them, _), (without, _) = (learned(1.0, 0.3, second_opinion=second) for second in (True, False))
    sure, vague = (found["judge:j"].right for found in (with_them, without))
    assert sure.high - sure.low < 0.6 * (vague.high - vague.low)
    assert vague.value > _people(without), "agreement alone turns them around here"
