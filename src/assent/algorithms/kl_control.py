"""KL-control: the entropy-regularised return with the reference as prior, by policy gradient.

Jaques et al. 2017 (arXiv:1611.02796) and 2019 (arXiv:1907.00456); Levine 2018 (arXiv:1805.00909).
r_t = score at the last token - kl_coefficient * (log pi_old_t - log ref_t), and the return to go
G_t = sum_{s >= t} gamma^(s - t) r_s.  The gradient is (G_t - b_t) grad log pi_t, summed over a completion's tokens and
averaged over completions: with gamma 1 its expectation is the gradient of E[score] - kl_coefficient * KL(pi, ref).
The baseline b_t is that of the completion's t-th token: the mean of G_t over the batch's other completions that have
one is independent of this completion, and leaves the gradient unbiased.  Departures: where Jaques et al. learn a
Q-function, this is the policy gradient of the same objective; the updates after a batch's first are weighted by
min(pi / pi_old, importance_limit) per token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from assent.algorithms.advantages import at_last_token, group_mean, leave_one_out_mean, no_baseline, returns_to_go
from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, sequence_sum
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
from assent.algorithms.surrogates import log_ratio, truncated_surrogate

_BASELINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": no_baseline,
    "position": group_mean,
    "leave-one-out": leave_one_out_mean,
}


class KLControlSettings(ScoreSettings, KLSettings):
    """Settings of KL-control."""

    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    """Discount per token."""
    baseline: Literal["none", "position", "leave-one-out"] = "leave-one-out"
    """Taken from a token's return to go: nothing; the batch's mean at its position (biased); the mean at its position
    over the batch's other completions (0 where there is none)."""
    importance_limit: float = Field(default=2.0, ge=1.0)
    """Upper bound of a token's importance weight pi / pi_old in the updates after a batch's first."""


def initial_state(settings: KLControlSettings) -> State:
    return {**initial_score_state(settings), **initial_kl_state(settings)}


def prepare(batch: Batch, settings: KLControlSettings, state: State) -> tuple[Batch, State, Figures]:
    """Returns to go less their baselines [B, T] of one batch of rollouts, and the next KL coefficient."""
    mask = batch.completion_mask
    coefficient = float(state["kl_coefficient"])
    scores, state = shaped_scores(batch, settings, state)
    rewards = at_last_token(scores, mask) - coefficient * token_kl(batch)
    returns = returns_to_go(rewards, mask, settings.gamma)
    positions = mask.long().cumsum(1)
    advantages = torch.zeros_like(returns)
    advantages[mask] = returns[mask] - _BASELINES[settings.baseline](returns[mask], positions[mask])
    figures = rollout_figures(batch, kl_coefficient=coefficient, return_mean=returns.sum() / mask.sum().clamp(min=1))
    return batch.with_columns(advantages=advantages), adapted(batch, settings, state), figures


def weights(batch: Batch, settings: KLControlSettings) -> Mapping[str, Part]:
    return {"policy": sequence_sum(batch.completion_mask)}


def loss(outputs: Outputs, batch: Batch, settings: KLControlSettings) -> Loss:
    change = log_ratio(outputs.logprobs, batch["old_logprobs"])
    policy, truncated = truncated_surrogate(change, batch["advantages"], settings.importance_limit)
    part = weights(batch, settings)["policy"]
    return Loss({"policy": policy}, policy_metrics(policy, truncated, change, part, outputs, batch))


ALGORITHM = Algorithm(
    name="kl-control",
    summary="Optimise rewards less the KL to the reference, token by token, without a critic",
    Settings=KLControlSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_state,
)
