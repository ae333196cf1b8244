"""Stage ``combined-reward``: several rewards as one, in a folder that stands where a reward model's does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assent.config import Settings
from assent.data.readers import read_completions
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.rewards.combine import Combined, whitened
from assent.rewards.combined import combination_of, write_combined
from assent.rewards.ensemble import EnsembleRule
from assent.rewards.load import open_sources


class CombinedRewardSettings(Settings):
    """Several rewards as one."""

    rewards: dict[str, str] = Input("model", description="Name -> reward model, or folder of another source of reward")
    combination: Literal["weighted", "product", "gated", "constrained"] = "weighted"
    """How they become one: their weighted sum; the product of their probabilities; helpfulness unless the answer is
    probably unsafe or its prompt risky (Llama 2); or all but safety, with unsafe answers held to the policy's
    cost_limit by a Lagrange multiplier."""
    weights: dict[str, float] = Field(default_factory=dict)
    """What each counts, weighted and constrained; unset = each 1."""
    helpful: str = "helpful"
    """Which of them says how helpful an answer is; gated."""
    safety: str = "safe"
    """Which of them says how safe an answer is; gated and constrained."""
    safety_threshold: float = Field(default=0.15, ge=0.0, le=1.0)
    """Probability of being safe below which safety decides; gated."""
    risky_key: str = "risky"
    """Key of a prompt's metadata whose true value marks it as risky; gated."""
    reference: str | None = Input(
        "data", None, "Completions by whose rewards each source is whitened; unset = none is whitened"
    )
    ensemble: EnsembleRule = "mean"
    """What the members of an ensemble come to: their mean, the worst of them, or their mean less their variance."""
    variance_coefficient: float = Field(default=1.0, ge=0.0)
    """What the variance counts in ensemble: variance."""


def run(settings: CombinedRewardSettings, context: Context) -> Metrics:
    values = settings.model_dump()
    named = open_sources(values)
    Combined(named, combination_of(values))
    if settings.reference is not None:
        rows = read_completions(settings.reference)
        named = whitened(named, [prompt for prompt, _ in rows], [completion for _, completion in rows])
    write_combined(context.out, values, named, context.run_dir)
    means = {f"mean/{name}": each.mean for name, each in named.items()}
    return {**means, **{f"deviation/{name}": each.deviation for name, each in named.items()}}


STAGE = Stage(
    kind="combined-reward", summary="Combine several rewards into one", Settings=CombinedRewardSettings, run=run
)
