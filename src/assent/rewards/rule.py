"""Rewards from a Python function of prompt and completion text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from assent.errors import RecipeError
from assent.rewards.source import Scores, Unscored, score_each
from assent.types import Completion, Prompt
from assent.user_code import load_object, place_of


class FunctionReward:
    """Scores each completion with ``function(prompt, completion_text) -> float``.

    A completion on which the function raises, or gives what is no finite number, has no score.
    """

    def __init__(self, function: Callable[[Prompt, str], float], name: str = "function") -> None:
        self.function = function
        self.name = name

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        return score_each(prompts, completions, self._value)

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        try:
            value = float(self.function(prompt, completion.text))
        except Exception as error:  # the function is the user's own
            said = " ".join(f"{type(error).__name__}: {error}".split()) + place_of(error, besides=__file__)
            raise Unscored(
                f"{self.name} failed ({said}); it is called with a Prompt and the completion's text, and must return "
                "a number"
            ) from error
        if not math.isfinite(value):
            raise Unscored(f"{self.name} gave {value}; a reward must be finite")
        return value


def load_function(spec: str) -> Callable[[Prompt, str], float]:
    """The function that ``module:function`` or ``path.py:function`` names."""
    function: Any = load_object(spec, "function")
    if not callable(function):
        raise RecipeError(f"'{spec}' is a {type(function).__name__}, expected a function")
    return cast(Callable[[Prompt, str], float], function)
