"""``check_reward_source`` over the sources that there are, and over ones that are wrong."""

from collections.abc import Sequence
from typing import Any

import pytest

from assent.errors import DataError
from assent.rewards.model import ModelReward
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Scores
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
    with pytest.raises(DataError, match="'2/0'"):
        FunctionReward(lambda p, text: float("nan") if "time" in text else 0.0).score(PROMPTS, COMPLETIONS)


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
    ],
)
def test_a_wrong_source_is_caught(how: str, message: str):
    with pytest.raises(AssertionError, match=message):
        check_reward_source(Wrong(how), PROMPTS, COMPLETIONS)
