"""A rule: whether the completion ends in the prompt's known answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import regex
from pydantic import Field

from assent.config import Settings
from assent.errors import DataError, RecipeError
from assent.rewards.kinds import SourceKind
from assent.rewards.source import Scores, score_each
from assent.rewards.text import boxed
from assent.types import Completion, Prompt


class AnswerSettings(Settings):
    """Reward for the right answer."""

    column: str = "answer"
    """Column of the prompts' file that holds the right answer: a text, a number, or a list of which each will do."""
    pattern: str | None = None
    r"""Regular expression whose first group is the answer, in the completion (its last match) and in the column alike,
    such as '####\s*(.+)'; unset = the last \boxed{} of a completion that has one, else the whole text."""
    right: float = 1.0
    """The score of a right answer."""
    wrong: float = 0.0
    """The score of a wrong one, and of none."""
    tolerance: float = Field(default=1e-6, ge=0.0)
    """Numbers that differ by less than this, relatively, are the same."""


class AnswerReward:
    """``right`` or ``wrong``: equal as numbers where both are numbers, else as texts, less case, space and a full stop
    at the end.  No algebra: 1/2 is not 0.5."""

    def __init__(self, settings: AnswerSettings) -> None:
        """Raises :class:`RecipeError` for a pattern that is none or has no group."""
        self.settings = settings
        self._pattern = None
        if settings.pattern is not None:
            try:
                self._pattern = regex.compile(settings.pattern)
            except regex.error as error:
                raise RecipeError(f"pattern {settings.pattern!r} is no regular expression: {error}") from None
            if self._pattern.groups < 1:
                raise RecipeError(f"pattern {settings.pattern!r} has no group; put the answer's part in parentheses")

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        """Raises :class:`DataError` for a prompt without an answer."""
        return score_each(prompts, completions, self._value)

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        known = prompt.metadata.get(self.settings.column)
        if known is None or known == []:
            raise DataError(
                f"prompt '{prompt.id}' has no column '{self.settings.column}' with the right answer; its columns are "
                f"{', '.join(prompt.metadata) or 'none'}"
            )
        said = self._said(completion.text)
        if said is None:
            return self.settings.wrong
        wanted = known if isinstance(known, list) else [known]
        right = any(self._same(said, self._known(one)) for one in wanted)
        return self.settings.right if right else self.settings.wrong

    def _said(self, text: str) -> str | None:
        if self._pattern is None:
            return text if (inside := boxed(text)) is None else inside
        found = [match.group(1) for match in self._pattern.finditer(text)]
        return found[-1] if found else None

    def _known(self, answer: Any) -> str:
        text = str(answer)
        return (self._said(text) or text) if self._pattern is not None else text

    def _same(self, one: str, other: str) -> bool:
        numbers = _number(one), _number(other)
        if numbers[0] is not None and numbers[1] is not None:
            gap = abs(numbers[0] - numbers[1])
            return gap <= self.settings.tolerance * max(abs(numbers[0]), abs(numbers[1]))
        return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".").strip().strip("$").strip()


def _number(text: str) -> float | None:
    """The number that a text is, with thousands' commas, a currency or a per cent sign; ``None`` for other texts."""
    bare = _plain(text).lstrip("$€£").rstrip("%").replace(",", "").strip()
    try:
        return float(bare) if regex.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", bare) else None
    except OverflowError:
        return None


KIND = SourceKind("answer", "Reward for the known answer", AnswerSettings, AnswerReward)
