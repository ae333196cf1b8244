"""Rewards that workers on a Ray cluster give."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import ray

from assent.cluster import reward as reward_module
from assent.cluster.reward import RayReward
from assent.rewards.model import ModelReward
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Scores, is_comparative
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_reward
from assent.types import Completion, Prompt

PROMPTS = [Prompt(f"p{i}", text=f"The film {i}") for i in range(5)]
PAIRS = [
    (prompt, Completion(f"{prompt.id}/{i}", prompt.id, " good" * (1 + i) + " cat" * (k % 3)))
    for i in range(3)
    for k, prompt in enumerate(PROMPTS)  # the completions of a prompt are apart
]


def of(source: Any) -> Scores:
    return source.score([prompt for prompt, _ in PAIRS], [completion for _, completion in PAIRS])


def length(prompt: Prompt, text: str) -> float:
    if text.count("cat") == 2:
        raise ValueError("two cats")
    return float(len(text))


def by_function() -> FunctionReward:
    return FunctionReward(length)


def by_model() -> ModelReward:
    return ModelReward(tiny_reward())


class Best:
    """Worth something only within a group."""

    comparative = True

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        longest = {
            c.prompt_id: max(len(o.text) for o in completions if o.prompt_id == c.prompt_id) for c in completions
        }
        return Scores(tuple(float(len(c.text) == longest[c.prompt_id]) for c in completions))


class Here:
    """A pool that does the work itself, and keeps what it was asked."""

    def __init__(self, name: str, make: Any, given: Any, size: int, **options: Any) -> None:
        self.worker, self.asked = make(*given), []

    def run(self, method: str, shared: Any, portions: Sequence[Any]) -> list[Any]:
        self.asked += portions
        return [getattr(self.worker, method)(*shared, portion) for portion in portions]


@pytest.mark.parametrize(("open_source", "portion", "sizes"), [(by_function, 1, [3] * 5), (Best, 7, [6, 6, 3])])
def test_prompts_stay_whole_and_scores_in_their_places(
    open_source: Any, portion: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reward_module, "Pool", Here)
    reward: Any = RayReward(open_source, (), 2, comparative=open_source is Best, portion=portion)
    found, true = of(reward), of(open_source())
    assert found.unscored == true.unscored
    assert repr(found.values) == repr(true.values)  # a score that is missing is NaN
    assert [len(prompts) for prompts, _ in reward.pool.asked] == sizes
    assert is_comparative(reward) == (open_source is Best)


def test_workers_score_as_the_source_does(cluster: Any):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    reward = RayReward(by_model, (), 1, portion=4, say=lambda text: None)
    try:
        assert of(reward).values == pytest.approx(of(by_model()).values, abs=1e-6)
        check_reward_source(reward, PROMPTS, [completion for _, completion in PAIRS[:5]])
    finally:
        reward.close()


def test_portions_behind_one_another():
    one = Scores((1.0, math.nan), {"a": (1.0, 2.0), "b": (0.0, 0.0)}, (0.1, 0.2), {1: "no"}, costs=(0.5, 0.6))
    other = Scores((3.0,), {"a": (3.0,)}, (0.3,), {0: "none"})
    both = Scores.joined([one, other])
    assert both.values[::2] == (1.0, 3.0)
    assert both.parts == {"a": (1.0, 2.0, 3.0)}
    assert both.uncertainty == (0.1, 0.2, 0.3)
    assert both.unscored == {1: "no", 2: "none"}
    assert both.costs is None
    assert Scores.joined([]) == Scores(())
