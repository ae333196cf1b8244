"""The critic-free sequence form of PPO: -min(r R, clip(r, 1 - clip_low, 1 + clip_high) R) per completion.

r = pi / pi_old is the probability ratio of the whole completion, and R = reward_weight * score + kl_weight * (-KL) with
the completion's k1 estimate KL = sum_t (log pi_old - log ref).  The clipped surrogate is that of Schulman et al. 2017
(arXiv:1707.06347, eq. 7).  The named form has no baseline: R itself stands where PPO has an advantage, so that rewards
that are all positive raise every completion that was sampled; ``baseline`` takes a mean from R.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from assent.algorithms.advantages import batch_mean, leave_one_out_mean, no_baseline
from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, row_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.rollouts import (
    ScoreSettings,
    initial_score_state,
    policy_metrics,
    rollout_figures,
    shaped_scores,
    token_kl,
)
from assent.algorithms.surrogates import clipped_surrogate, sequence_log_ratio

_BASELINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": no_baseline,
    "batch": batch_mean,
    "leave-one-out": leave_one_out_mean,
}


class PPOSequenceSettings(ScoreSettings):
    """Settings of the sequence form of PPO."""

    reward_weight: float = Field(default=0.8, ge=0.0)
    """Weight of the score in R."""
    kl_weight: float = Field(default=0.2, ge=0.0)
    """Weight in R of minus the completion's KL to the reference."""
    clip_low: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Lower clip of a completion's ratio: 1 - clip_low."""
    clip_high: float = Field(default=0.2, gt=0.0)
    """Upper clip of a completion's ratio: 1 + clip_high."""
    baseline: Literal["none", "batch", "leave-one-out"] = "none"
    """Taken from R: nothing; the batch's mean (biased by the factor 1 - 1/B); the mean of the prompt's other
    completions (0 where there is none)."""


def prepare(batch: Batch, settings: PPOSequenceSettings, state: State) -> tuple[Batch, State, Figures]:
    """R less its baseline, for each completion [B]."""
    scores, state = shaped_scores(batch, settings, state)
    returns = settings.reward_weight * scores - settings.kl_weight * token_kl(batch).sum(1)
    baseline = _BASELINES[settings.baseline](returns, batch.groups)
    figures = rollout_figures(batch, return_mean=returns.mean(), baseline=baseline.mean())
    return batch.with_columns(advantages=returns - baseline), state, figures


def weights(batch: Batch, settings: PPOSequenceSettings) -> Mapping[str, Part]:
    return {"policy": row_mean(torch.ones_like(batch["advantages"]))}


def loss(outputs: Outputs, batch: Batch, settings: PPOSequenceSettings) -> Loss:
    change = sequence_log_ratio(outputs.logprobs, batch["old_logprobs"], batch.completion_mask)
    policy, clipped = clipped_surrogate(change, batch["advantages"], settings.clip_low, settings.clip_high)
    part = weights(batch, settings)["policy"]
    return Loss({"policy": policy}, policy_metrics(policy, clipped, change, part, outputs, batch))


ALGORITHM = Algorithm(
    name="ppo-sequence",
    summary="Optimise a policy against rewards with PPO on whole completions, without a critic",
    Settings=PPOSequenceSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_score_state,
)
