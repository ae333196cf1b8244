"""Proximal policy optimisation for language models (Schulman et al. 2017, arXiv:1707.06347; Ouyang et al. 2022).

Per-token reward = -kl_coefficient * (log pi_old - log ref), the k1 estimator, and the completion's score on its last
token; GAE against the critic; whitened advantages; clipped surrogate and clipped value loss; entropy bonus.
Departures: the clipped sides are two settings (``clip_low``, ``clip_high``); completions cut off by length lose
``missing_eos_penalty`` from their score; ``target_kl`` ends a batch early, as OpenAI's Spinning Up does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from assent.algorithms.advantages import at_last_token, gae, whiten
from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean, token_mean
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
from assent.algorithms.surrogates import clipped_surrogate, clipped_value_loss, log_ratio


class PPOSettings(ScoreSettings, KLSettings):
    """Settings of PPO."""

    clip_low: float = Field(default=0.2, gt=0.0, lt=1.0)
    """The ratio's lower clip: 1 - clip_low."""
    clip_high: float = Field(default=0.2, gt=0.0)
    """The ratio's upper clip: 1 + clip_high."""
    value_clip: float = 0.2
    """How far a value may move from the rollout's in one batch; 0 switches value clipping off."""
    value_coefficient: float = Field(default=0.1, ge=0.0)
    """c1: weight of the value loss."""
    entropy_coefficient: float = Field(default=0.0, ge=0.0)
    """c2: weight of the entropy bonus."""
    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    """Discount per token."""
    lam: float = Field(default=0.95, ge=0.0, le=1.0)
    """GAE's lambda."""
    whiten_rewards: bool = False
    """Scale token rewards to unit variance over the batch, keeping their mean."""
    whiten_advantages: bool = True
    """Shift and scale advantages to mean 0 and variance 1 over the batch's tokens."""
    target_kl: float | None = Field(default=None, gt=0.0)
    """An update whose approximate_kl (nats per token) is above it is the batch's last; unset = all are made."""


def initial_state(settings: PPOSettings) -> State:
    return {**initial_score_state(settings), **initial_kl_state(settings)}


def prepare(batch: Batch, settings: PPOSettings, state: State) -> tuple[Batch, State, Figures]:
    """Rewards, advantages and returns of one batch of rollouts, and the next KL coefficient."""
    mask = batch.completion_mask
    coefficient = float(state["kl_coefficient"])
    scores, state = shaped_scores(batch, settings, state)
    rewards = -coefficient * token_kl(batch) + at_last_token(scores, mask)
    if settings.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = gae(rewards, batch["values"], mask, settings.gamma, settings.lam)
    if settings.whiten_advantages:
        advantages = whiten(advantages, mask)

    weights = mask.to(scores.dtype)
    explained = 1 - _variance(returns - batch["values"], weights) / _variance(returns, weights).clamp(min=1e-8)
    figures = rollout_figures(
        batch,
        kl_coefficient=coefficient,
        return_mean=returns.sum() / weights.sum().clamp(min=1),
        value_explained=explained,
    )
    return batch.with_columns(advantages=advantages, returns=returns), adapted(batch, settings, state), figures


def _variance(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    count = weights.sum().clamp(min=1)
    mean = (values * weights).sum() / count
    return ((values - mean).square() * weights).sum() / count


def enough(figures: Figures, settings: PPOSettings) -> bool:
    return settings.target_kl is not None and figures["approximate_kl"] > settings.target_kl


def weights(batch: Batch, settings: PPOSettings) -> Mapping[str, Part]:
    mask = token_mean(batch.completion_mask)
    return {"policy": mask, "value": mask, "entropy": mask}


def loss(outputs: Outputs, batch: Batch, settings: PPOSettings) -> Loss:
    change = log_ratio(outputs.logprobs, batch["old_logprobs"])
    policy, clipped = clipped_surrogate(change, batch["advantages"], settings.clip_low, settings.clip_high)
    value = clipped_value_loss(outputs.values, batch["values"], batch["returns"], settings.value_clip)
    part = token_mean(batch.completion_mask)
    return Loss(
        terms={"policy": policy, "value": value, "entropy": -outputs.entropy},
        coefficients={"value": settings.value_coefficient, "entropy": settings.entropy_coefficient},
        metrics={
            **policy_metrics(policy, clipped, change, part, outputs, batch),
            "value_loss": masked_mean(value, batch.completion_mask),
            "entropy": masked_mean(outputs.entropy, batch.completion_mask),
        },
    )


ALGORITHM = Algorithm(
    name="ppo",
    summary="Optimise a policy against rewards with PPO",
    Settings=PPOSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs", "values"}),
    outputs=frozenset({"logprobs", "entropy", "values"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_state,
    enough=enough,
)
