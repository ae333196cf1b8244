"""Rewards from a Python function of prompt and completion text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from assent.errors import DataError
from assent.rewards.source import Scores
from assent.types import Completion, Prompt


class FunctionReward:
    """Scores each completion with ``function(prompt, completion_text) -> float``."""

    def __init__(self, function: Callable[[Prompt, str], float], name: str = "function") -> None:
        self.function = function
        self.name = name

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        values: list[float] = []
        for prompt, completion in zip(prompts, completions, strict=True):
            value = float(self.function(prompt, completion.text))
            if not math.isfinite(value):
                raise DataError(f"{self.name} gave {value} for completion '{completion.id}': a reward must be finite")
            values.append(value)
        return Scores(tuple(values))
