"""REINFORCE on whole completions (Williams 1992; Ahmadian et al. 2024, arXiv:2402.14740).

R = score - kl_coefficient * sum_t (log pi_old - log ref), the k1 estimate per completion; A = R - baseline; the
gradient is A * grad log pi(completion), averaged over completions.  With the baselines "none" and "running" (a mean of
earlier batches) its expectation is the gradient of E[score] - kl_coefficient * KL(pi, ref).  The baseline "batch" has
each completion's own return in it, which shrinks the expectation by the factor 1 - 1/B.  Departures: the updates after
a batch's first are weighted by min(pi / pi_old, importance_limit) per completion; advantages may be whitened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field

from assent.algorithms.advantages import whiten
from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, row_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.rollouts import (
    KLSettings,
    ScoreSettings,
    adapted,
    initial_kl_state,
    initial_score_state,
    policy_metrics,
    rollout_figures,
    shaped_scores,
    token_kl,
)
from assent.algorithms.surrogates import sequence_log_ratio, truncated_surrogate


class ReinforceSettings(ScoreSettings, KLSettings):
    """Settings of REINFORCE."""

    baseline: Literal["none", "batch", "running"] = "running"
    """Taken from each return: nothing; the batch's mean (biased by the factor 1 - 1/B); the exponential mean of earlier
    batches."""
    baseline_decay: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Weight of the past in the running baseline, per batch."""
    whiten_advantages: bool = False
    """Shift and scale advantages to mean 0 and variance 1 over the batch's completions; biased."""
    importance_limit: float = Field(default=2.0, ge=1.0)
    """Upper bound of a completion's importance weight pi / pi_old in the updates after a batch's first."""


def initial_state(settings: ReinforceSettings) -> State:
    """The running baseline as a weighted sum of returns and the weight: their ratio has no pull to a first guess."""
    return {**initial_score_state(settings), **initial_kl_state(settings), "return_sum": 0.0, "return_weight": 0.0}


def prepare(batch: Batch, settings: ReinforceSettings, state: State) -> tuple[Batch, State, Figures]:
    """Returns and advantages [B] of one batch of rollouts; the next baseline and KL coefficient."""
    coefficient = float(state["kl_coefficient"])
    scores, state = shaped_scores(batch, settings, state)
    returns = scores - coefficient * token_kl(batch).sum(1)
    mean = float(returns.mean())
    earlier = state["return_sum"] / state["return_weight"] if state["return_weight"] else 0.0
    baseline = {"none": 0.0, "batch": mean, "running": earlier}[settings.baseline]
    advantages = returns - baseline
    if settings.whiten_advantages:
        advantages = whiten(advantages, torch.ones_like(advantages))

    keep = settings.baseline_decay
    state = {
        **adapted(batch, settings, state),
        "return_sum": keep * state["return_sum"] + (1.0 - keep) * mean,
        "return_weight": keep * state["return_weight"] + (1.0 - keep),
    }
    figures = rollout_figures(batch, kl_coefficient=coefficient, return_mean=mean, baseline=baseline)
    return batch.with_columns(advantages=advantages), state, figures


def weights(batch: Batch, settings: ReinforceSettings) -> Mapping[str, Part]:
    return {"policy": row_mean(torch.ones_like(batch["advantages"]))}


def loss(outputs: Outputs, batch: Batch, settings: ReinforceSettings) -> Loss:
    change = sequence_log_ratio(outputs.logprobs, batch["old_logprobs"], batch.completion_mask)
    policy, truncated = truncated_surrogate(change, batch["advantages"], settings.importance_limit)
    part = weights(batch, settings)["policy"]
    return Loss({"policy": policy}, policy_metrics(policy, truncated, change, part, outputs, batch))


ALGORITHM = Algorithm(
    name="reinforce",
    summary="Optimise a policy against rewards with REINFORCE and a baseline",
    Settings=ReinforceSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_state,
)
