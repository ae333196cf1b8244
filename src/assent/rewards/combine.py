"""Rewards for different things as one: weighted, as a product, gated by safety, or constrained.

A rule of combination sees each source's values twice: as ``logits``, whitened by the source's own scale, and as
``probabilities`` in [0, 1].  It gives the combined value of each completion and its slope in each source, by which the
sources' uncertainties, taken to be independent, add up to the combined one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from assent.errors import DataError, RecipeError, nearest
from assent.rewards.ensemble import Ensemble
from assent.rewards.model import ModelReward
from assent.rewards.source import RewardSource, Scores, for_tokenizer, is_comparative, score_all, unscored_by
from assent.types import Completion, Prompt

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Named:
    """A source within a combination."""

    source: RewardSource
    logistic: bool = True
    """Whether its values are log-odds, as a reward model's are; ``False``: they are in [0, 1], as a rule's may be."""
    mean: float = 0.0
    deviation: float = 1.0
    """Its logits are whitened by these: (value - mean) / deviation."""

    def probabilities(self, values: Vector, name: str, completions: Sequence[Completion]) -> Vector:
        """Values [N] in [0, 1].  Raises :class:`DataError` for one outside, where they are no log-odds."""
        if self.logistic:
            return expit(values)
        for value, completion in zip(values, completions, strict=True):
            if not (0.0 <= value <= 1.0 or np.isnan(value)):  # without a score: NaN
                raise DataError(
                    f"'{name}' gave {value:g} for completion '{completion.id}': here a reward that is no reward model "
                    "must be from 0 to 1"
                )
        return values


@dataclass(frozen=True)
class Seen:
    """What a rule of combination sees of N completions, by source."""

    prompts: Sequence[Prompt]
    logits: Mapping[str, Vector]
    probabilities: Mapping[str, Vector]
    """Only of the sources that the rule :attr:`~Combination.judged` names."""
    spread: Mapping[str, Vector] = field(default_factory=dict)
    """Slope of the probabilities in the logits [N], of the same sources."""


@dataclass(frozen=True)
class Made:
    """What a rule of combination gives."""

    values: Vector
    slopes: Mapping[str, Vector]
    """d value / d logit of each source."""
    costs: Vector | None = None


class Combination(Protocol):
    """A way to make one reward of several."""

    @property
    def named(self) -> tuple[str, ...]:
        """The sources that it must have by name."""
        ...

    def judged(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Those whose probabilities it reads."""
        ...

    def __call__(self, seen: Seen) -> Made: ...


@dataclass(frozen=True)
class Weighted:
    """The sum of weight * logit; of weight 1 where none are given."""

    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def judged(self, sources: Sequence[str]) -> tuple[str, ...]:
        return ()

    def __call__(self, seen: Seen) -> Made:
        weights = self.weights or dict.fromkeys(seen.logits, 1.0)
        slopes = {name: np.full_like(seen.logits[name], weight) for name, weight in weights.items()}
        return Made(_sum_of(slopes[name] * seen.logits[name] for name in weights), slopes)


@dataclass(frozen=True)
class Product:
    """The product of the probabilities: all must be good for the whole to be."""

    named: tuple[str, ...] = ()

    def judged(self, sources: Sequence[str]) -> tuple[str, ...]:
        return tuple(sources)

    def __call__(self, seen: Seen) -> Made:
        whole = np.prod(np.stack(list(seen.probabilities.values())), axis=0)
        slopes: dict[str, Vector] = {}
        for name in seen.probabilities:
            others = [p for other, p in seen.probabilities.items() if other != name]
            slopes[name] = np.prod(np.stack([seen.spread[name], *others]), axis=0)
        return Made(whole, slopes)


@dataclass(frozen=True)
class Gated:
    """Helpfulness, unless the answer is probably unsafe or the prompt is marked as risky: then safety.

    R_c = R_s where the prompt is a safety prompt or R_s < 0.15, else R_h; whitened in logits (Touvron et al. 2023,
    Llama 2, arXiv:2307.09288, section 3.2.3).  Departure: each of the two is whitened by its own scale, and not the
    mixture by that of the batch, so that a completion's reward does not hang on its company.
    """

    helpful: str
    safety: str
    threshold: float = 0.15
    """Probability of being safe below which safety decides."""
    risky: str = "risky"
    """Key of a prompt's metadata that marks it, where it holds a true value."""

    @property
    def named(self) -> tuple[str, ...]:
        return (self.helpful, self.safety)

    def judged(self, sources: Sequence[str]) -> tuple[str, ...]:
        return (self.safety,)

    def __call__(self, seen: Seen) -> Made:
        marked = np.array([bool(prompt.metadata.get(self.risky)) for prompt in seen.prompts], dtype=bool)
        guarded = (seen.probabilities[self.safety] < self.threshold) | marked
        values = np.where(guarded, seen.logits[self.safety], seen.logits[self.helpful])
        return Made(values, {self.safety: guarded.astype(float), self.helpful: (~guarded).astype(float)})


@dataclass(frozen=True)
class Constrained:
    """The weighted sum of all but ``safety``, with the probability of being unsafe as the cost beside it.

    The policy's algorithm holds the mean cost to its ``cost_limit`` by a Lagrange multiplier (Dai et al. 2023,
    arXiv:2310.12773), which is in its state and in the checkpoints.
    """

    safety: str
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        return (self.safety, *self.weights)

    def judged(self, sources: Sequence[str]) -> tuple[str, ...]:
        return (self.safety,)

    def __call__(self, seen: Seen) -> Made:
        rest = {name: values for name, values in seen.logits.items() if name != self.safety}
        made = Weighted(self.weights)(replace(seen, logits=rest))
        return replace(made, costs=1.0 - seen.probabilities[self.safety])


class Combined:
    """Named sources as one.  The parts are the sources' values as they gave them, and their own parts as NAME/PART."""

    def __init__(self, sources: Mapping[str, Named], combination: Combination) -> None:
        """Raises :class:`RecipeError` for fewer than two sources, or one that is named and not there."""
        if len(sources) < 2:
            raise RecipeError(f"a combination has two rewards or more, and this one has {len(sources)}")
        for name in combination.named:
            if name not in sources:
                there = ", ".join(sources)
                raise RecipeError(f"no reward is named '{name}'{nearest(name, sources)}; those given are {there}")
        self.sources, self.combination = dict(sources), combination

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        scored = {name: each.source.score(prompts, completions) for name, each in self.sources.items()}
        values = {name: np.array(found.values, dtype=np.float64) for name, found in scored.items()}
        made = self.combination(self._seen(prompts, completions, values))
        parts: dict[str, tuple[float, ...]] = {}
        for name, found in scored.items():
            parts |= {name: found.values, **{f"{name}/{part}": column for part, column in found.parts.items()}}
        return Scores(
            tuple(made.values.tolist()),
            parts,
            uncertainty=self._uncertainty(scored, made),
            unscored=unscored_by(scored),
            costs=None if made.costs is None else tuple(made.costs.tolist()),
        )

    @property
    def comparative(self) -> bool:
        return any(is_comparative(each.source) for each in self.sources.values())

    def for_tokenizer(self, tokenizer: Any) -> Self:
        sources = {n: replace(each, source=for_tokenizer(each.source, tokenizer)) for n, each in self.sources.items()}
        return type(self)(sources, self.combination)

    def _seen(self, prompts: Sequence[Prompt], completions: Sequence[Completion], values: Mapping[str, Vector]) -> Seen:
        logits = {name: (values[name] - each.mean) / each.deviation for name, each in self.sources.items()}
        probabilities: dict[str, Vector] = {}
        spread: dict[str, Vector] = {}
        for name in self.combination.judged(list(self.sources)):
            each = self.sources[name]
            probabilities[name] = p = each.probabilities(values[name], name, completions)
            spread[name] = each.deviation * (p * (1.0 - p) if each.logistic else np.ones_like(p))
        return Seen(prompts, logits, probabilities, spread)

    def _uncertainty(self, scored: Mapping[str, Scores], made: Made) -> tuple[float, ...] | None:
        """To first order; ``None`` where no source tells one."""
        told = {name: found.uncertainty for name, found in scored.items() if found.uncertainty is not None}
        if not told:
            return None
        whole = np.zeros_like(made.values)
        for name, deviations in told.items():
            if name in made.slopes:
                whole += (made.slopes[name] * np.array(deviations) / self.sources[name].deviation) ** 2
        return tuple(np.sqrt(whole).tolist())


def models_in(source: RewardSource) -> list[ModelReward]:
    """Every reward model within a source."""
    if isinstance(source, ModelReward):
        return [source]
    inner: list[RewardSource] = []
    if isinstance(source, Ensemble):
        inner = source.members
    elif isinstance(source, Combined):
        inner = [each.source for each in source.sources.values()]
    return [model for each in inner for model in models_in(each)]


def only_models(source: RewardSource) -> bool:
    """Whether reward models are all that a source asks: then a completion's score hangs on nothing but itself."""
    if isinstance(source, Ensemble):
        return all(only_models(member) for member in source.members)
    if isinstance(source, Combined):
        return all(only_models(each.source) for each in source.sources.values())
    return isinstance(source, ModelReward)


def whitened(
    sources: Mapping[str, Named], prompts: Sequence[Prompt], completions: Sequence[Completion]
) -> dict[str, Named]:
    """The sources with the mean and standard deviation of their values on these completions as their scales.

    Raises :class:`DataError` where a source gives all of them one value.
    """
    out: dict[str, Named] = {}
    for name, each in sources.items():
        values = np.array(score_all(each.source, prompts, completions).values, dtype=np.float64)
        deviation = float(values.std()) if len(values) else 0.0
        if deviation <= 1e-9 * max(1.0, float(np.abs(values).max(initial=0.0))):
            raise DataError(
                f"'{name}' gives all {len(values)} completions of the reference the same reward, so that it has no "
                "scale; give other completions"
            )
        out[name] = replace(each, mean=float(values.mean()), deviation=deviation)
    return out


def _sum_of(values: Any) -> Vector:
    """The sum of vectors [N], one at least."""
    return np.sum(np.stack(list(values)), axis=0)
