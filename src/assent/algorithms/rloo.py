"""REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740).

R = score - kl_coefficient * sum_t (log pi_old - log ref); A = R - the mean R of the other K - 1 completions of the
prompt, a baseline that is independent of the completion, so that the first gradient's expectation is the gradient of
E[score] - kl_coefficient * KL(pi, ref).  The loss is -min(r A, clip(r) A) with r = pi / pi_old of the whole completion,
averaged over completions: at r = 1 its gradient is -A grad log pi.  Departure: the paper makes one update per batch and
has no ratio; the clipped ratio per completion is that of TRL's RLOO trainer, for the updates after the first.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from assent.algorithms.advantages import leave_one_out_mean
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
from assent.algorithms.surrogates import clipped_surrogate, sequence_log_ratio

_EPSILON = 1e-4


class RLOOSettings(ScoreSettings, KLSettings):
    """Settings of RLOO."""

    clip_low: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Lower clip of a completion's ratio: 1 - clip_low."""
    clip_high: float = Field(default=0.2, gt=0.0)
    """Upper clip of a completion's ratio: 1 + clip_high."""
    normalize_advantages: bool = False
    """Scale advantages to standard deviation 1 over the batch's completions; biased.  Their mean is 0 as it is."""


def initial_state(settings: RLOOSettings) -> State:
    return {**initial_score_state(settings), **initial_kl_state(settings)}


def prepare(batch: Batch, settings: RLOOSettings, state: State) -> tuple[Batch, State, Figures]:
    """Advantages [B] of one batch of rollouts, and the next KL coefficient."""
    coefficient = float(state["kl_coefficient"])
    scores, state = shaped_scores(batch, settings, state)
    returns = scores - coefficient * token_kl(batch).sum(1)
    advantages = returns - leave_one_out_mean(returns, batch.groups)
    spread = advantages.std(unbiased=batch.rows > 1)
    if settings.normalize_advantages:
        advantages = advantages / (spread + _EPSILON)  # their mean over a group of two or more is 0 already
    figures = rollout_figures(batch, kl_coefficient=coefficient, return_mean=returns.mean(), advantage_std=spread)
    return batch.with_columns(advantages=advantages), adapted(batch, settings, state), figures


def weights(batch: Batch, settings: RLOOSettings) -> Mapping[str, Part]:
    return {"policy": row_mean(torch.ones_like(batch["advantages"]))}


def loss(outputs: Outputs, batch: Batch, settings: RLOOSettings) -> Loss:
    change = sequence_log_ratio(outputs.logprobs, batch["old_logprobs"], batch.completion_mask)
    policy, clipped = clipped_surrogate(change, batch["advantages"], settings.clip_low, settings.clip_high)
    part = weights(batch, settings)["policy"]
    return Loss({"policy": policy}, policy_metrics(policy, clipped, change, part, outputs, batch))


ALGORITHM = Algorithm(
    name="rloo",
    summary="Optimise a policy against rewards with RLOO, REINFORCE with a leave-one-out baseline",
    Settings=RLOOSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_state,
)
