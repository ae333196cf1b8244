"""Completions with the scores that ``assent score`` or a file's own column gave them, and the pairs they make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

from assent.errors import DataError
from assent.types import Comparison, Completion, Prompt, short_id

SCORE, PARTS, UNCERTAINTY = "score", "score_parts", "score_uncertainty"
"""Keys of a completion's metadata."""

Scored = tuple[Prompt, Completion]


@dataclass(frozen=True)
class Pair:
    """Two completions of one prompt, the first with the higher score."""

    prompt: Prompt
    chosen: Completion
    rejected: Completion

    @property
    def gap(self) -> float:
        """By how much."""
        return score_of(self.chosen) - score_of(self.rejected)


def with_score(
    completion: Completion, score: float, parts: Mapping[str, float] | None = None, uncertainty: float | None = None
) -> Completion:
    """The completion with its score in its metadata."""
    extra: dict[str, Any] = {SCORE: score}
    extra |= {PARTS: dict(parts)} if parts else {}
    extra |= {UNCERTAINTY: uncertainty} if uncertainty is not None else {}
    return replace(completion, metadata={**completion.metadata, **extra})


def has_score(completion: Completion) -> bool:
    """Whether it has one, and a finite one."""
    value = completion.metadata.get(SCORE)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def score_of(completion: Completion) -> float:
    """Its score.  Raises :class:`DataError` where it has none."""
    if not has_score(completion):
        raise DataError(f"completion '{completion.id}' has no score; run `assent score` on its file first")
    return float(completion.metadata[SCORE])


def by_prompt(rows: Iterable[Scored]) -> list[list[Scored]]:
    """The completions of each prompt, in the order in which the prompts are met."""
    groups: dict[str, list[Scored]] = {}
    for row in rows:
        groups.setdefault(row[0].id, []).append(row)
    return list(groups.values())


def pairs_of(group: Sequence[Scored], which: Literal["extremes", "all"]) -> list[Pair]:
    """Pairs of one prompt's completions whose scores differ: the best with the worst, or all."""
    ordered = sorted(group, key=lambda row: -score_of(row[1]))  # of equal scores the first stands first
    taken = [(ordered[0], ordered[-1])] if which == "extremes" else combinations(ordered, 2)
    pairs = [Pair(one[0], one[1], other[1]) for one, other in taken]
    return [pair for pair in pairs if pair.gap > 0]


def comparison(pair: Pair, among: int) -> Comparison:
    """A pair as training reads it, its margin the gap of the scores; one of ``among`` pairs of its prompt."""
    return Comparison(
        id=short_id(pair.prompt.id, pair.chosen.id, pair.rejected.id, pair.chosen.text, pair.rejected.text),
        prompt=pair.prompt,
        chosen=pair.chosen.text,
        rejected=pair.rejected.text,
        margin=pair.gap,
        weight=1.0 / among,
        criterion=SCORE,
        group=pair.prompt.id,
    )
