"""A rule: whether the completion is as long as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from assent.config import Settings
from assent.rewards.kinds import SourceKind
from assent.rewards.source import Scores, score_each
from assent.types import Completion, Prompt


class LengthSettings(Settings):
    """Reward by length."""

    unit: Literal["words", "characters", "tokens"] = "words"
    """What is counted; tokens are the policy's own, of sampled completions."""
    least: int = Field(default=0, ge=0)
    """Nothing is taken from this length on."""
    most: int | None = Field(default=None, ge=0)
    """Nothing is taken up to this length; unset = however long."""
    slope: float = Field(default=1.0, gt=0.0)
    """Taken for each unit that is missing or too many."""

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ValueError(f"most {self.most} is less than least {self.least}")
        if self.most is None and self.least == 0:
            raise ValueError("every length is right; give least or most")
        return self


class LengthReward:
    """0 within ``least`` to ``most``, and ``slope`` less for each unit outside."""

    def __init__(self, settings: LengthSettings) -> None:
        self.settings = settings

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        return score_each(prompts, completions, self._value)

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        settings = self.settings
        length = {
            "words": len(completion.text.split()),
            "characters": len(completion.text),
            "tokens": len(completion.token_ids),
        }[settings.unit]
        over = 0 if settings.most is None else max(0, length - settings.most)
        return -settings.slope * (max(0, settings.least - length) + over)


KIND = SourceKind("length", "Reward by length", LengthSettings, LengthReward)
