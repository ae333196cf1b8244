"""``check_reward_source`` over the sources that there are, and over ones that are wrong."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from assent.errors import DataError
from assent.rewards.answer import AnswerReward, AnswerSettings
from assent.rewards.code import CodeReward, CodeSettings
from assent.rewards.json_validity import JSONReward, JSONSettings
from assent.rewards.length import LengthReward, LengthSettings
from assent.rewards.model import ModelReward
from assent.rewards.pattern import PatternReward, PatternSettings
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Scores, score_all
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_reward
from assent.types import Completion, Prompt

PROMPTS = [Prompt(id=str(i), text=text) for i, text in enumerate(("The film", "It was", "Once", "The cat"))]
COMPLETIONS = [
    Completion(id=f"{i}/0", prompt_id=str(i), text=text)
    for i, text in enumerate((" is good.", " a long and slow film with a fine cast.", " upon a time", " saw"))
]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
def test_reward_models(architecture: str):
    check_reward_source(ModelReward(tiny_reward(architecture)), PROMPTS, COMPLETIONS)


def test_a_function():
    check_reward_source(FunctionReward(lambda prompt, text: len(text) / 10), PROMPTS, COMPLETIONS)


@pytest.mark.parametrize(
    ("bad", "why"), [(float("nan"), "function gave nan; a reward must be finite"), ("no number", "function failed")]
)
def test_a_function_without_a_number_gives_no_score(bad: Any, why: str):
    source = FunctionReward(lambda p, text: bad if "time" in text else 0.0)
    assert source.score(PROMPTS, COMPLETIONS).values[3] == 0.0
    with pytest.raises(DataError, match=f"completion '2/0' has no score: {why}"):
        score_all(source, PROMPTS, COMPLETIONS)


def test_rules():
    prompts = [replace(p, metadata={"answer": "good", "tests": "assert 'film' in what"}) for p in PROMPTS]
    for source in (
        PatternReward(PatternSettings(pattern="film|cat")),
        LengthReward(LengthSettings(most=3)),
        AnswerReward(AnswerSettings(pattern=r"is (\w+)")),
    ):
        check_reward_source(source, prompts, COMPLETIONS)
    check_reward_source(JSONReward(JSONSettings()), prompts, _said("{}", "[1", "nothing", '"x"'))
    check_reward_source(CodeReward(CodeSettings()), prompts, _said("what='film'", "what=''", "!", "film"))


def _said(*texts: str) -> list[Completion]:
    return [replace(c, text=text) for c, text in zip(COMPLETIONS, texts, strict=True)]


class Wrong:
    """Lengths as scores, broken in the way named."""

    def __init__(self, how: str) -> None:
        self.how, self.calls = how, 0

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        self.calls += 1
        values = [float(len(c.text)) for c in completions]
        extra: dict[str, Any] = {}
        match self.how:
            case "company":
                values = [value - sum(values) / len(values) for value in values]
            case "order":
                values = sorted(values)
            case "noise":
                values = [value + self.calls for value in values]
            case "infinite":
                values = [float("inf")] * len(values)
            case "short":
                values = values[1:]
            case "part":
                extra = {"parts": {"length": tuple(values[1:])}}
            case "uncertainty":
                extra = {"uncertainty": tuple(-value for value in values)}
            case "part by place":
                extra = {"parts": {"place": tuple(float(i) for i in range(len(values)))}}
            case "ids":
                values = [value + completions[0].id.count("/") for value in values]
                values = [value + 9.0 * any(not c.text for c in completions) for value in values]
            case "constant":
                values = [1.0] * len(values)
            case "empty":
                values = [value or math.nan for value in values]
            case "no reason":
                extra = {"unscored": {0: "a reason"}}
        return Scores(tuple(values), **extra)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("company", "depend on the company"),
        ("order", "depend on the order"),
        ("noise", "a second call"),
        ("infinite", "not finite"),
        ("short", "3 numbers for 4 completions"),
        ("part", "part 'length'"),
        ("uncertainty", "uncertainty is negative"),
        ("part by place", "depend on the order"),
        ("ids", "an empty completion in the company changed"),
        ("constant", "tells no completion from another"),
        ("empty", "an empty completion was scored nan"),
        ("no reason", "a completion has no score: a reason"),
    ],
)
def test_a_wrong_source_is_caught(how: str, message: str):
    with pytest.raises(AssertionError, match=message):
        check_reward_source(Wrong(how), PROMPTS, COMPLETIONS)
