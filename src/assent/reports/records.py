"""What a report shows, as plain records: filled by :mod:`assent.reports.extract`, read by everything that draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assent.evaluation.win_rates import WinRate
from assent.reports.reward_quality import RewardQuality


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """One kind of work of a training stage, over all of its steps."""

    name: str
    seconds: float
    tokens: float
    flops: float
    """Floating-point operations of its matrix products; 0 where they are not counted."""
    share: float | None
    """``flops`` of the peak that the machine was measured to do; ``None`` where it was not measured."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of the run, from its manifest."""

    name: str
    kind: str
    identity: str = ""
    seconds: float | None = None
    """Wall time; ``None`` while the stage is unfinished or where the manifest does not say."""
    tokens_per_second: float | None = None
    """Tokens over seconds of the stage's own steps; ``None`` for a stage without timing."""
    phases: tuple[PhaseTime, ...] = ()
    """Where the time of a training stage went."""
    created: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Input -> where it came from, as the recipe has it."""
    versions: Mapping[str, Any] = field(default_factory=dict)
    """Versions of the packages, and what the machine had."""
    seed: int | None = None
    """``None`` where the manifest does not say."""
    upstream: tuple[str, ...] = ()
    """Names of the stages of this run whose artifacts it read."""
    finished: bool = True

    @property
    def share(self) -> float | None:
        """Of the machine's peak, over the phases whose work is counted; ``None`` where it was not measured."""
        counted = [(phase.share, phase.seconds) for phase in self.phases if phase.share is not None]
        seconds = sum(seconds for _, seconds in counted)
        return sum(share * seconds for share, seconds in counted) / seconds if seconds else None


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over the steps that recorded a finite value of it; both [n], steps ascending."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Training:
    """The metrics of one training stage, by name."""

    stage: str
    kind: str
    series: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class Policy:
    """One evaluated policy and its figures as the evaluate stage named them (``utility``, ``kl``, ``reward`` ...)."""

    name: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Match:
    """The win rate of one policy against another."""

    policy: str
    against: str
    result: WinRate
    length_controlled: tuple[float, float, float] | None = None
    """Rate, low and high as they would be at equal lengths; ``None`` where that was not measured."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Win rates by a further judge."""

    judge: str
    kind: str
    """``people``, ``simulated``, ``model``, ``mixed``, or ``proxy``: the reward that was optimised."""
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Rating:
    """A policy's strength in points of Elo above the reference, with its 95 % interval."""

    policy: str
    elo: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A checkpoint: KL from the reference in nats, and what it gained over it.  ``gold`` is ``None`` without judge."""

    label: str
    kl: float
    kl_se: float
    proxy: float
    proxy_se: float
    gold: float | None = None
    gold_se: float | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """A published form of over-optimisation, fitted to gains over ``d = sqrt(KL)``."""

    reward: str
    """``proxy`` or ``gold``."""
    alpha: float
    beta: float
    peak_kl: float | None = None
    """In nats; ``None`` where the fit does not turn, and ``peak_low`` and ``peak_high`` where nothing bounds it."""
    peak_low: float | None = None
    peak_high: float | None = None
    reached: bool = False
    """Whether checkpoints lie on both sides of the peak."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The checkpoint that the judge likes best, and what going on cost: ``loss`` with its 95 % interval."""

    label: str
    kl: float
    loss: float
    low: float
    high: float
    advised: bool


@dataclass(frozen=True, slots=True)
class RewardCurve:
    """Reward against KL along one training, or for best of n."""

    name: str
    form: str
    """``rl`` or ``best-of-n``."""
    points: tuple[CurvePoint, ...]
    fits: tuple[Fit, ...] = ()
    stopping: Stopping | None = None
    watched: bool = False
    """Whether the alarm for reward hacking looked at it."""
    raised_at: str | None = None
    """Label of the first checkpoint at which the alarm was raised; ``None`` at none."""


@dataclass(frozen=True, slots=True)
class Exploited:
    """A prompt on which a policy gained reward and lost by the judge."""

    policy: str
    prompt: str
    text: str
    reference_text: str
    proxy_gain: float
    gold_gain: float


@dataclass(frozen=True, slots=True)
class GroupGap:
    """How far a policy's answers about one group lie from those about the others of its axis, by one score."""

    policy: str
    score: str
    axis: str
    group: str
    gap: float
    low: float
    high: float
    clear: bool
    """Whether the interval leaves zero out."""


@dataclass(frozen=True, slots=True)
class SampleAccuracy:
    """How often the reward prefers what the judge prefers, between a policy's answers and the reference's."""

    policy: str
    accuracy: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an evaluation says beyond its figures and win rates; each part is empty where it was not asked for."""

    judges: tuple[Judged, ...] = ()
    ratings: tuple[Rating, ...] = ()
    curves: tuple[RewardCurve, ...] = ()
    exploited: tuple[Exploited, ...] = ()
    gaps: tuple[GroupGap, ...] = ()
    accuracies: tuple[SampleAccuracy, ...] = ()
    prompts: int | None = None
    detectable: float | None = None
    """Distance from one half that so many prompts would show in 80 of 100 evaluations."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted probability, observed share and number of comparisons of one bin."""

    predicted: float
    observed: float
    n: int


@dataclass(frozen=True, slots=True)
class RewardModel:
    """How well the reward model agrees with held-out comparisons.  ``None`` where the evaluation does not say."""

    accuracy: float
    low: float | None = None
    high: float | None = None
    ceiling: float | None = None
    n: int | None = None
    calibration: tuple[Calibration, ...] = ()
    quality: RewardQuality | None = None


@dataclass(frozen=True, slots=True)
class Annotator:
    """Who answered how often; ``agreement`` is the share of comparisons as the truth has them, where that is known."""

    name: str
    answers: int
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """The data that the run learned from.  ``None`` where the evaluation does not say."""

    annotators: tuple[Annotator, ...] = ()
    rankings: int | None = None
    comparisons: int | None = None
    ties_share: float | None = None
    failed_share: float | None = None
    alpha: float | None = None
    """Krippendorff's alpha between annotators, 1 at full agreement."""
    simulated: bool | None = None
    """Whether programs gave the answers, not people."""
    questions: int | None = None
    answered: int | None = None
    """Of the ``questions``, by anyone."""


@dataclass(frozen=True, slots=True)
class SampleText:
    """One policy's answer to a prompt.  ``token_kl`` [T] in nats belongs to ``tokens`` [T]; both may be empty."""

    text: str
    utility: float | None = None
    reward: float | None = None
    tokens: tuple[str, ...] = ()
    token_kl: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A held-out prompt with the answers of the policies, by name."""

    prompt: str
    completions: Mapping[str, SampleText]
    gain: float | None = None
    """Score of the main policy minus that of the reference, by the judge or else by the reward model; ``None`` where
    one of the two is missing."""
    proxy_gain: float | None = None
    """The same by the reward model, where ``gain`` is by the judge."""

    @property
    def exploited(self) -> bool:
        """Whether the reward model liked better what the judge liked less."""
        return self.proxy_gain is not None and self.gain is not None and self.proxy_gain > 0 > self.gain


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page of one run shows."""

    title: str
    run: str
    stages: tuple[StageRun, ...] = ()
    """Each after the stages that it reads."""
    trainings: tuple[Training, ...] = ()
    judge: str = ""
    judge_kind: str = ""
    reference: str = ""
    """The policy that the others are measured against; empty when nothing was evaluated."""
    policies: tuple[Policy, ...] = ()
    matches: tuple[Match, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    reward_model: RewardModel | None = None
    feedback: Feedback | None = None
    samples: tuple[Sample, ...] = ()
    extra_seconds: float = 0.0
    """Wall time to add to that of the stages, such as the report's own."""
    hourly_price: float | None = None
    """What an hour of the machine costs; ``None``: nothing is said of costs."""
    currency: str = ""

    def cost(self, seconds: float | None) -> float | None:
        """What so much of the machine's time costs; ``None`` without time or price."""
        return None if seconds is None or self.hourly_price is None else seconds / 3600 * self.hourly_price

    @property
    def main(self) -> Policy | None:
        """The policy that the verdict is about: PPO, or else the last one; ``None`` without any but the reference."""
        return main_policy(self.policies, self.reference)

    @property
    def base(self) -> Policy | None:
        """The reference policy; ``None`` when it was not evaluated."""
        return next((policy for policy in self.policies if policy.name == self.reference), None)

    @property
    def wall_seconds(self) -> float | None:
        """Wall time of all stages and ``extra_seconds``; ``None`` when no manifest gives one."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) + self.extra_seconds if known else None


def main_policy(policies: tuple[Policy, ...], reference: str) -> Policy | None:
    """See :attr:`Report.main`."""
    others = [policy for policy in policies if policy.name != reference]
    return next((policy for policy in others if policy.name == "ppo"), others[-1] if others else None)
