"""Rewards from a Python function of prompt and completion text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from assent.errors import DataError, RecipeError
from assent.rewards.source import Scores
from assent.types import Completion, Prompt
from assent.user_code import load_object, place_of


class FunctionReward:
    """Scores each completion with ``function(prompt, completion_text) -> float``."""

    def __init__(self, function: Callable[[Prompt, str], float], name: str = "function") -> None:
        self.function = function
        self.name = name

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        values: list[float] = []
        for prompt, completion in zip(prompts, completions, strict=True):
            values.append(self._value(prompt, completion))
        return Scores(tuple(values))

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        try:
            value = float(self.function(prompt, completion.text))
        except Exception as error:  # the function is the user's own
            said = " ".join(f"{type(error).__name__}: {error}".split()) + place_of(error, besides=__file__)
            raise DataError(
                f"{self.name} failed on completion '{completion.id}' ({said}); it is called with a Prompt and the "
                "completion's text, and must return a number"
            ) from error
        if not math.isfinite(value):
            raise DataError(f"{self.name} gave {value} for completion '{completion.id}': a reward must be finite")
        return value


def load_function(spec: str) -> Callable[[Prompt, str], float]:
    """The function that ``module:function`` or ``path.py:function`` names."""
    function: Any = load_object(spec, "function")
    if not callable(function):
        raise RecipeError(f"'{spec}' is a {type(function).__name__}, expected a function")
    return cast(Callable[[Prompt, str], float], function)
