"""Combined rewards against sums done by hand: value, cost and uncertainty; what is whitened; what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log, sqrt

import pytest

from assent.errors import DataError, RecipeError
from assent.rewards.combine import Combined, Constrained, Gated, Named, Product, Weighted, whitened
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Scores
from assent.testing.reward_source import check_reward_source
from assent.types import Completion, Prompt

PROMPTS = [
    Prompt(id="0", text="a"),
    Prompt(id="1", text="b", metadata={"risky": True}),
    Prompt(id="2", text="c", metadata={"risky": False}),
]
COMPLETIONS = [Completion(id=f"{i}/0", prompt_id=str(i), text=text) for i, text in enumerate(("1 2", "3 4", "0.5 -3"))]


def helpful(prompt: Prompt, text: str) -> float:
    return float((text.split() or "00")[0])


def safe(prompt: Prompt, text: str) -> float:
    return float((text.split() or "00")[1])


class Unsure:
    """A function's values, each of the same uncertainty."""

    def __init__(self, function: Callable[[Prompt, str], float], deviation: float) -> None:
        self.function, self.deviation = function, deviation

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        values = tuple(self.function(p, c.text) for p, c in zip(prompts, completions, strict=True))
        return Scores(values, {"half": tuple(v / 2 for v in values)}, uncertainty=(self.deviation,) * len(values))


def two(**scales: float) -> dict[str, Named]:
    return {"helpful": Named(Unsure(helpful, 0.3), **scales), "safe": Named(Unsure(safe, 0.4))}


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_weighted():
    check_reward_source(Combined(two(), Weighted()), PROMPTS, COMPLETIONS)
    found = Combined(two(mean=1.0, deviation=2.0), Weighted({"helpful": 4.0, "safe": -1.0})).score(PROMPTS, COMPLETIONS)
    assert found.values == pytest.approx((4 * 0 - 2, 4 * 1 - 4, 4 * -0.25 + 3))
    assert found.uncertainty == pytest.approx([sqrt((4 * 0.3 / 2) ** 2 + 0.4**2)] * 3)
    assert found.parts["helpful"] == (1.0, 3.0, 0.5)
    assert found.parts["safe/half"] == (1.0, 2.0, -1.5)
    assert found.costs is None
    part = Combined(two(), Weighted({"safe": 1.0})).score(PROMPTS, COMPLETIONS)
    assert part.values == (2.0, 4.0, -3.0)
    assert part.uncertainty == pytest.approx([0.4] * 3)


def test_a_product_of_probabilities():
    check_reward_source(Combined(two(), Product()), PROMPTS, COMPLETIONS)
    whitened_too = Combined(two(mean=1.0, deviation=2.0), Product()).score(PROMPTS, COMPLETIONS)
    found = Combined(two(), Product()).score(PROMPTS, COMPLETIONS)
    assert found.values == pytest.approx([sigmoid(1) * sigmoid(2), sigmoid(3) * sigmoid(4), sigmoid(0.5) * sigmoid(-3)])
    h, s = sigmoid(1), sigmoid(2)
    by_hand = sqrt((0.3 * h * (1 - h) * s) ** 2 + (0.4 * s * (1 - s) * h) ** 2)
    assert found.uncertainty is not None
    assert found.uncertainty[0] == pytest.approx(by_hand)
    assert whitened_too.values == pytest.approx(found.values)  # a probability has no scale to be whitened by
    assert whitened_too.uncertainty == pytest.approx(found.uncertainty)


def test_a_rule_enters_a_product_as_it_is():
    rule = Named(FunctionReward(lambda prompt, text: 0.25), logistic=False)
    found = Combined({"helpful": Named(FunctionReward(helpful)), "rule": rule}, Product()).score(PROMPTS, COMPLETIONS)
    assert found.values == pytest.approx([0.25 * sigmoid(1), 0.25 * sigmoid(3), 0.25 * sigmoid(0.5)])
    wrong = Named(FunctionReward(lambda prompt, text: -1.0), logistic=False)
    with pytest.raises(DataError, match=r"'rule' gave -1 for completion '0/0'.*from 0 to 1"):
        Combined({"helpful": rule, "rule": wrong}, Product()).score(PROMPTS, COMPLETIONS)


def test_gated_by_safety():
    source = Combined(two(mean=1.0, deviation=2.0), Gated("helpful", "safe", threshold=0.15))
    check_reward_source(source, PROMPTS, COMPLETIONS)
    found = source.score(PROMPTS, COMPLETIONS)
    # helpful and whitened; safe, for the prompt is risky; safe, for sigmoid(-3) < 0.15
    assert found.values == pytest.approx((0.0, 4.0, -3.0))
    assert found.uncertainty == pytest.approx((0.15, 0.4, 0.4))
    assert sigmoid(-1.7) > 0.15 > sigmoid(-1.8)
    for safety, expected in ((-1.7, 0.5), (-1.8, -1.8)):
        last = [Completion(id="2/0", prompt_id="2", text=f"0.5 {safety}")]
        assert Combined(two(), Gated("helpful", "safe")).score(PROMPTS[2:], last).values == (expected,)


def test_constrained_by_safety():
    source = Combined(two(), Constrained("safe"))
    check_reward_source(source, PROMPTS, COMPLETIONS)
    found = source.score(PROMPTS, COMPLETIONS)
    assert found.values == (1.0, 3.0, 0.5)
    assert found.costs == pytest.approx((sigmoid(-2), sigmoid(-4), sigmoid(3)))
    assert found.uncertainty == pytest.approx((0.3, 0.3, 0.3))


def test_whitened_by_a_reference():
    named = whitened(two(), PROMPTS, COMPLETIONS)
    assert (named["safe"].mean, named["safe"].deviation) == pytest.approx((1.0, sqrt(26 / 3)))
    found = Combined(named, Weighted()).score(PROMPTS, COMPLETIONS)
    assert sum(found.values) == pytest.approx(0.0)
    flat = {"flat": Named(FunctionReward(lambda prompt, text: log(3)))}
    with pytest.raises(DataError, match="'flat' gives all 3 completions of the reference the same reward"):
        whitened(flat, PROMPTS, COMPLETIONS)


@pytest.mark.parametrize(
    ("combination", "message"),
    [
        (Gated("helpful", "sage"), "no reward is named 'sage'; did you mean 'safe'"),
        (Weighted({"harm": 1.0}), "no reward is named 'harm'; those given are helpful, safe"),
    ],
)
def test_a_name_that_is_not_there(combination, message: str):
    with pytest.raises(RecipeError, match=message):
        Combined(two(), combination)


def test_one_source_is_no_combination():
    with pytest.raises(RecipeError, match="two rewards or more"):
        Combined({"safe": Named(FunctionReward(safe))}, Weighted())
