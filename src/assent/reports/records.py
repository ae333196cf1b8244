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
    reward_model: RewardModel | None = None
    feedback: Feedback | None = None
    samples: tuple[Sample, ...] = ()
    extra_seconds: float = 0.0
    """Wall time to add to that of the stages, such as the report's own."""

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
