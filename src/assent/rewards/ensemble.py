"""Several opinions of the same thing as one reward, with how far they differ as its uncertainty.

The members are reward models of separate seeds, or heads over one trunk.  ``mean``, ``worst`` (the lowest) and
``variance`` (mean - coefficient * variance) are the three ways of Coste et al. 2023 (arXiv:2310.02743, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from assent.errors import RecipeError
from assent.rewards.source import RewardSource, Scores, for_tokenizer, is_comparative, unscored_by
from assent.types import Completion, Prompt

EnsembleRule = Literal["mean", "worst", "variance"]
Matrix = NDArray[np.float64]

_RULES: Mapping[EnsembleRule, Callable[[Matrix, float], Matrix]] = {
    "mean": lambda values, coefficient: values.mean(0),
    "worst": lambda values, coefficient: values.min(0),
    "variance": lambda values, coefficient: values.mean(0) - coefficient * values.var(0),
}


@dataclass(frozen=True)
class Pooling:
    """How the members' scores become one."""

    rule: EnsembleRule = "mean"
    coefficient: float = 1.0
    """What the variance counts, by rule ``variance``."""

    def __call__(self, values: Matrix) -> Scores:
        """Scores of N completions from those of M members [M, N]; the uncertainty is the members' standard deviation,
        the parts are the members, counted from 1."""
        parts = {f"member-{number}": tuple(row) for number, row in enumerate(values.tolist(), 1)}
        pooled = _RULES[self.rule](values, self.coefficient)
        return Scores(tuple(pooled.tolist()), parts, uncertainty=tuple(values.std(0).tolist()))


MEAN = Pooling()


class Ensemble:
    """Sources of the same reward as one.  Raises :class:`RecipeError` for fewer than two."""

    def __init__(self, members: Sequence[RewardSource], pooling: Pooling = MEAN) -> None:
        if len(members) < 2:
            raise RecipeError(f"an ensemble has two members or more, and this one has {len(members)}")
        self.members, self.pooling = list(members), pooling

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        scored = [member.score(prompts, completions) for member in self.members]
        found = self.pooling(np.array([scores.values for scores in scored]))
        named = {f"member {number}": scores for number, scores in enumerate(scored, 1)}
        return replace(found, unscored=unscored_by(named))

    @property
    def comparative(self) -> bool:
        return any(is_comparative(member) for member in self.members)

    def for_tokenizer(self, tokenizer: Any) -> Self:
        return type(self)([for_tokenizer(member, tokenizer) for member in self.members], self.pooling)
