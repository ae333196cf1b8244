"""A rule: whether the completion is JSON, and has the keys that are wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from assent.config import Settings
from assent.rewards.kinds import SourceKind
from assent.rewards.source import Scores, score_each
from assent.rewards.text import fenced
from assent.types import Completion, Prompt


class JSONSettings(Settings):
    """Reward for valid JSON."""

    kind: Literal["any", "object", "array"] = "any"
    """What it must be."""
    keys: list[str] = Field(default_factory=list[str])
    """Keys that an object must have."""
    fences: bool = True
    """Where the completion has a ``` block, what stands in the first is read instead of the whole."""
    valid: float = 1.0
    """The score of what is as wanted."""
    invalid: float = 0.0
    """The score of anything else."""


class JSONReward:
    """``valid`` or ``invalid``; NaN and infinities, which JSON has not, are invalid."""

    def __init__(self, settings: JSONSettings) -> None:
        self.settings = settings

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        return score_each(prompts, completions, self._value)

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        text = completion.text
        if self.settings.fences:
            text = next(iter(fenced(text)), text)
        try:
            value = json.loads(text, parse_constant=_refused)
        except (ValueError, RecursionError):
            return self.settings.invalid
        return self.settings.valid if self._wanted(value) else self.settings.invalid

    def _wanted(self, value: Any) -> bool:
        kinds = {"any": object, "object": dict, "array": list}
        has_keys = not self.settings.keys or (isinstance(value, dict) and set(self.settings.keys) <= set(value))
        return isinstance(value, kinds[self.settings.kind]) and has_keys


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


KIND = SourceKind("json", "Reward for valid JSON", JSONSettings, JSONReward)
