"""A rule: whether a regular expression is found in the completion."""

from __future__ import annotations

from collections.abc import Sequence

import regex
from pydantic import Field

from assent.config import Settings
from assent.errors import RecipeError
from assent.rewards.kinds import SourceKind
from assent.rewards.source import Scores, Unscored, score_each
from assent.types import Completion, Prompt


class PatternSettings(Settings):
    """Reward by a regular expression."""

    pattern: str = Field(min_length=1)
    """A regular expression, as of Python's re; looked for anywhere in the completion unless whole."""
    whole: bool = False
    """The whole completion must match, not a part of it."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    found: float = 1.0
    """The score where it is found."""
    missing: float = 0.0
    """The score where it is not."""
    seconds: float = Field(default=1.0, gt=0.0)
    """Time for one completion; a pattern that takes longer gives it no score."""


class PatternReward:
    """``found`` or ``missing``."""

    def __init__(self, settings: PatternSettings) -> None:
        """Raises :class:`RecipeError` for what is no regular expression."""
        self.settings = settings
        try:
            self._pattern = regex.compile(settings.pattern, regex.IGNORECASE if settings.ignore_case else 0)
        except regex.error as error:
            raise RecipeError(f"pattern {settings.pattern!r} is no regular expression: {error}") from None

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        return score_each(prompts, completions, self._value)

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        look = self._pattern.fullmatch if self.settings.whole else self._pattern.search
        try:
            hit = look(completion.text, timeout=self.settings.seconds)
        except TimeoutError:
            raise Unscored(
                f"the pattern {self.settings.pattern!r} took longer than {self.settings.seconds:g} s on it; write one "
                "that backtracks less"
            ) from None
        return self.settings.found if hit else self.settings.missing


KIND = SourceKind("pattern", "Reward by a regular expression", PatternSettings, PatternReward)
