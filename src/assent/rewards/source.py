"""Anything that scores completions: a reward model, a rule, a judge, a person."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, Protocol, runtime_checkable

from assent.errors import DataError
from assent.types import Completion, Prompt


@dataclass(frozen=True)
class Scores:
    """One float per completion, in order; the named parts it was made of; an uncertainty where there is one."""

    values: tuple[float, ...]
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    uncertainty: tuple[float, ...] | None = None
    """Standard deviation of each value; ``None`` where the source cannot tell."""
    unscored: Mapping[int, str] = field(default_factory=dict)
    """Place of a completion that got no score -> why; its value is NaN, and so may be its parts."""
    costs: tuple[float, ...] | None = None
    """What a Lagrange multiplier holds to a limit (a probability of harm); ``None`` where nothing is constrained."""

    def select(self, places: Sequence[int]) -> Scores:
        """Those of some of the completions, in this order."""
        kept = {name: tuple(part[i] for i in places) for name, part in self.parts.items()}
        spread = None if self.uncertainty is None else tuple(self.uncertainty[i] for i in places)
        why = {new: self.unscored[old] for new, old in enumerate(places) if old in self.unscored}
        costs = None if self.costs is None else tuple(self.costs[i] for i in places)
        return Scores(tuple(self.values[i] for i in places), kept, spread, why, costs)

    @staticmethod
    def joined(portions: Sequence[Scores]) -> Scores:
        """The scores of several portions behind one another; what not all of them tell is left out."""
        starts = accumulate((len(scores.values) for scores in portions), initial=0)
        failed = zip(starts, (scores.unscored for scores in portions), strict=False)
        names = [name for name in (portions[0].parts if portions else ()) if all(name in s.parts for s in portions)]
        return Scores(
            values=tuple(chain.from_iterable(scores.values for scores in portions)),
            parts={name: tuple(chain.from_iterable(scores.parts[name] for scores in portions)) for name in names},
            uncertainty=_all_of([scores.uncertainty for scores in portions]),
            unscored={start + i: why for start, unscored in failed for i, why in unscored.items()},
            costs=_all_of([scores.costs for scores in portions]),
        )


def _all_of(columns: Sequence[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    """One behind another where each is there."""
    there = [column for column in columns if column is not None]
    return tuple(chain.from_iterable(there)) if there and len(there) == len(columns) else None


class RewardSource(Protocol):
    """``score`` is called with the prompts of the completions, both in one order and of one length.

    A source that compares the completions of one prompt with one another, so that a score is worth something only
    beside those of its group, says so by ``comparative = True`` on its class; completions with one ``prompt_id`` are a
    group.  A source may raise :class:`Pending`.
    """

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores: ...


@runtime_checkable
class Accounted(Protocol):
    """A source that costs something to ask, and keeps count."""

    def figures(self) -> Mapping[str, float | int]:
        """What it was asked and what that cost, so far."""
        ...


def account_of(source: RewardSource) -> dict[str, float]:
    """The figures of a source that keeps count; none of any other."""
    return {name: float(value) for name, value in source.figures().items()} if isinstance(source, Accounted) else {}


class Pending(Exception):
    """People are asked, and have not answered yet: scoring the same completions again later goes on."""

    def __init__(self, question_ids: Sequence[str], message: str) -> None:
        """``message`` says how many answers are missing and where to give them."""
        super().__init__(message)
        self.question_ids = tuple(question_ids)

    def __reduce__(self) -> tuple[type[Pending], tuple[tuple[str, ...], str]]:
        """Pickled by its own arguments, to be told to another process."""
        return type(self), (self.question_ids, str(self))


class Unscored(Exception):
    """Raised for one completion by what scores it: there is no score, and the message says why."""


def is_comparative(source: RewardSource) -> bool:
    """Whether scores are worth something only beside those of the same prompt's other completions."""
    return bool(getattr(source, "comparative", False))


def score_each(
    prompts: Sequence[Prompt], completions: Sequence[Completion], value: Callable[[Prompt, Completion], float]
) -> Scores:
    """Scores by a function of one completion, which raises :class:`Unscored` where it has no score to give."""
    values: list[float] = []
    unscored: dict[int, str] = {}
    for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        try:
            values.append(float(value(prompt, completion)))
        except Unscored as problem:
            values.append(math.nan)
            unscored[place] = str(problem)
    return Scores(tuple(values), unscored=unscored)


def problems(scores: Scores, completions: Sequence[Completion]) -> dict[int, str]:
    """Place of each completion without a finite score -> one clause that names it and says why.

    Raises :class:`DataError` where there is not one score for each completion.
    """
    if len(scores.values) != len(completions):
        raise DataError(f"the source of rewards gave {len(scores.values)} scores for {len(completions)} completions")
    found: dict[int, str] = {}
    for place, (value, completion) in enumerate(zip(scores.values, completions, strict=True)):
        if place in scores.unscored:
            found[place] = f"completion '{completion.id}' has no score: {scores.unscored[place]}"
        elif not math.isfinite(value):
            found[place] = f"completion '{completion.id}' has no score: the reward is {value}, and must be finite"
    return found


def score_all(source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
    """The scores of all; :class:`DataError` naming the first completion that has none."""
    scores = source.score(prompts, completions)
    for problem in problems(scores, completions).values():
        raise DataError(problem)
    return scores


def groups_of(completions: Sequence[Completion]) -> list[list[int]]:
    """The places of each prompt's completions, in the order in which the prompts are met."""
    groups: dict[str, list[int]] = {}
    for place, completion in enumerate(completions):
        groups.setdefault(completion.prompt_id, []).append(place)
    return list(groups.values())


def unscored_by(scored: Mapping[str, Scores]) -> dict[int, str]:
    """Places without a score by one of several sources -> why, with the name of the first that has none."""
    out: dict[int, str] = {}
    for name, scores in scored.items():
        for place, why in scores.unscored.items():
            out.setdefault(place, f"{name}: {why}")
    return out


@runtime_checkable
class TokenReader(Protocol):
    """A source that scores a policy's own token ids where it can: ``for_tokenizer`` gives it for another policy."""

    def for_tokenizer(self, tokenizer: Any) -> RewardSource: ...


def for_tokenizer(source: RewardSource, tokenizer: Any) -> RewardSource:
    """``source`` for the completions of a policy with this ``tokenizer``."""
    return source.for_tokenizer(tokenizer) if isinstance(source, TokenReader) else source
