"""Anything that scores completions: a reward model, a rule, a judge, a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assent.types import Completion, Prompt


@dataclass(frozen=True)
class Scores:
    """One float per completion, in order; the named parts it was made of; an uncertainty where there is one."""

    values: tuple[float, ...]
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    uncertainty: tuple[float, ...] | None = None
    """Standard deviation of each value; ``None`` where the source cannot tell."""


class RewardSource(Protocol):
    """``score`` is called with the prompts of the completions, both in one order and of one length."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores: ...
