"""A program that judges in both orders: how sure it is, and what makes it unsure."""

from __future__ import annotations

from typing import Any

import pytest

from assent.errors import RecipeError
from assent.feedback.simulate import SimulatedAnnotator
from assent.rewards.judge import Judged, JudgeSettings, compared, ranked
from assent.rewards.simulated_judge import SimulatedJudge
from assent.rewards.source import Unscored
from assent.types import Prompt

PROMPT = Prompt("p", text="Ask")


def judge(method: Any = "pairwise", swap: bool = True, **failings: float) -> SimulatedJudge:
    settings = JudgeSettings(url="none", served_name="none", method=method, swap=swap)
    annotator = SimulatedAnnotator("simulated:jo", **{"noise": 0.0, **failings})
    return SimulatedJudge(settings, annotator, lambda prompt, text: float(text))


def said(texts: list[str], *given: Any, **more: Any) -> Judged:
    return judge(*given, **more).all([(PROMPT, texts)])[0]


@pytest.mark.parametrize("method", ["pairwise", "ranking"])
def test_a_perfect_reader_is_sure_of_the_order(method: str) -> None:
    found = said(["1", "3", "2"], method)
    assert found.values == (0.0, 1.0, 0.5)
    assert (found.margin, found.reversals, found.pairs) == (1.0, 0, 3)


@pytest.mark.parametrize("method", ["pairwise", "ranking"])
def test_what_the_position_outweighs_turns_around_with_it(method: str) -> None:
    near, far = said(["1", "1.2"], method, position_bias=0.5), said(["1", "2"], method, position_bias=0.5)
    assert (near.values, near.margin, near.reversals) == ((0.5, 0.5), 0.0, 1)
    assert (far.values, far.margin, far.reversals) == ((0.0, 1.0), 1.0, 0)


def test_a_tie_in_one_order_is_half_a_margin() -> None:
    found = said(["1", "1.5"], position_bias=0.25, tie_width=0.3)  # gaps of 0.75 and 0.25
    assert (found.values, found.margin) == ((0.25, 0.75), 0.5)
    assert said(["1", "1"]).margin == 0.0
    assert said(["1", "1.2"], "pairwise", False, position_bias=0.5).margin == 1.0, "of one order it cannot tell"


def test_noise_makes_near_ties_unsure_more_often_than_clear_cases() -> None:
    questions = [[f"{n}", f"{n + gap}"] for gap in (0.1, 4.0) for n in range(100)]
    margins = [found.margin for found in judge(noise=0.5).all([(PROMPT, texts) for texts in questions])]
    assert 0.3 < sum(margins[:100]) / 100 < 0.7
    assert sum(margins[100:]) / 100 > 0.95


def test_margins_of_verdicts_worked_out_by_hand() -> None:
    pairs = {(0, 1): [1.0, 1.0], (0, 2): [1.0, 0.0], (1, 2): [0.5, 0.0]}
    found = compared(3, lambda i, j: pairs[i, j])
    assert found.margin == pytest.approx((1.0 + 0.0 + 0.5) / 3)
    assert (found.reversals, found.pairs) == (2, 3)

    def some(i: int, j: int) -> list[float]:
        if j == 2:
            raise Unscored("no verdict")
        return [1.0]

    assert compared(3, some).margin == 1.0
    assert ranked([[1.0, 0.5, 0.0], [1.0, 0.0, 0.5]]).margin == pytest.approx(2 / 3)
    assert ranked([[1.0, 0.25, 0.25], [1.0, 0.5, 0.0]]).margin == pytest.approx(2.5 / 3)


def test_what_it_cannot_do_is_told() -> None:
    with pytest.raises(RecipeError, match="a simulated judge compares answers by its truth"):
        judge("pointwise")
