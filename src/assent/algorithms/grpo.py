"""Group-relative policy optimisation (Shao et al. 2024, arXiv:2402.03300, eq. 3), and its length-unbiased kin.

A = (score - mean of the prompt's K scores) / (their standard deviation + 1e-4), the same for every token; the loss is
PPO's clipped surrogate per token, and kl_coefficient times an estimate of KL(pi, ref) as a term of its own.
Variants, as settings: without the deviation and with a constant length denominator it is Dr. GRPO (Liu et al. 2025,
arXiv:2503.20783); with clip_high 0.28 and the mean over tokens, DAPO's loss (Yu et al. 2025, arXiv:2503.14476); with
one ratio per completion, GSPO (Zheng et al. 2025, arXiv:2507.18071, eq. 7).
Departure: the KL term is k2, whose gradient is that of each token's KL(pi, ref) given the text before it; the paper's
k3 has the gradient of the reversed KL(ref, pi).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from assent.algorithms.advantages import group_mean, group_std
from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.kl import k2, k3
from assent.algorithms.rollouts import (
    ScoreSettings,
    initial_score_state,
    policy_metrics,
    rollout_figures,
    shaped_scores,
)
from assent.algorithms.surrogates import clipped_surrogate, log_ratio

_EPSILON = 1e-4
"""Beside the standard deviation, as in TRL: rounding noise among equal scores is not blown up."""


class GRPOSettings(ScoreSettings):
    """Settings of GRPO."""

    advantage_scale: Literal["group", "batch", "none"] = "group"
    """What centred scores are divided by: their group's standard deviation, the whole batch's, or nothing."""
    aggregation: Literal["sequence", "token", "constant"] = "sequence"
    """How token losses become one: the mean over completions of their token means (the paper); the mean over all tokens
    (DAPO); the sum over tokens / (completions * length_normaliser) (Dr. GRPO), which favours no length."""
    length_normaliser: float = Field(default=64.0, gt=0.0)
    """Tokens per completion that the aggregation "constant" divides by, such as max_new_tokens."""
    ratio: Literal["token", "sequence"] = "token"
    """Ratio of each token, or one per completion: the geometric mean over its tokens (GSPO, which clips near 3e-4)."""
    clip_low: float = Field(default=0.2, gt=0.0, lt=1.0)
    """The ratio's lower clip: 1 - clip_low."""
    clip_high: float = Field(default=0.2, gt=0.0)
    """The ratio's upper clip: 1 + clip_high; above clip_low it is DAPO's clip-higher."""
    kl_coefficient: float = Field(default=0.04, ge=0.0)
    """Coefficient of the KL term to the reference policy."""
    kl_estimator: Literal["k2", "k3"] = "k2"
    """The KL term: k2 has the gradient of KL(pi, ref), k3 (the paper's) that of the reversed KL(ref, pi)."""


def _by_group(centred: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
    return centred / (group_std(scores, groups) + _EPSILON)


def _by_batch(centred: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
    return centred / (scores.std(unbiased=len(scores) > 1) + _EPSILON)


def _unscaled(centred: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
    return centred


_SCALES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "group": _by_group,
    "batch": _by_batch,
    "none": _unscaled,
}


def prepare(batch: Batch, settings: GRPOSettings, state: State) -> tuple[Batch, State, Figures]:
    """Advantages [B] of one batch of rollouts."""
    scores, state = shaped_scores(batch, settings, state)
    centred = scores - group_mean(scores, batch.groups)
    advantages = _SCALES[settings.advantage_scale](centred, scores, batch.groups)
    spread = group_std(scores, batch.groups)
    figures = rollout_figures(batch, group_std=spread.mean(), groups_alike=(spread <= _EPSILON).to(spread.dtype).mean())
    return batch.with_columns(advantages=advantages), state, figures


def _sequence_part(mask: Tensor, length_normaliser: float) -> Part:
    return Part(mask / mask.sum(1, keepdim=True).clamp(min=1), mask.new_tensor(float(mask.shape[0])))


def _token_part(mask: Tensor, length_normaliser: float) -> Part:
    return Part(mask, mask.sum())


def _constant_part(mask: Tensor, length_normaliser: float) -> Part:
    return Part(mask, mask.new_tensor(mask.shape[0] * length_normaliser))


_AGGREGATIONS: dict[str, Callable[[Tensor, float], Part]] = {
    "sequence": _sequence_part,
    "token": _token_part,
    "constant": _constant_part,
}


def weights(batch: Batch, settings: GRPOSettings) -> Mapping[str, Part]:
    mask = batch.completion_mask.to(batch["advantages"].dtype)
    part = _AGGREGATIONS[settings.aggregation](mask, settings.length_normaliser)
    return {"policy": part, "kl": part}


def _token_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    return log_ratio(logprobs, old_logprobs)


def _sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """GSPO's: the mean of the tokens' log-ratios, given to each of them [B, T]."""
    real = mask.to(logprobs.dtype)
    mean = (log_ratio(logprobs, old_logprobs) * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
    return mean.expand_as(logprobs)


_RATIOS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"token": _token_ratio, "sequence": _sequence_ratio}
_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k2": k2, "k3": k3}


def loss(outputs: Outputs, batch: Batch, settings: GRPOSettings) -> Loss:
    mask = batch.completion_mask
    change = _RATIOS[settings.ratio](outputs.logprobs, batch["old_logprobs"], mask)
    advantages = batch["advantages"][:, None].expand_as(change)
    policy, clipped = clipped_surrogate(change, advantages, settings.clip_low, settings.clip_high)
    kl = _ESTIMATORS[settings.kl_estimator](outputs.logprobs, batch["ref_logprobs"])
    part = weights(batch, settings)["policy"]
    return Loss(
        terms={"policy": policy, "kl": kl},
        coefficients={"kl": settings.kl_coefficient},
        metrics={
            **policy_metrics(policy, clipped, change, part, outputs, batch),
            "kl_loss": masked_mean(kl, mask),
        },
    )


ALGORITHM = Algorithm(
    name="grpo",
    summary="Optimise a policy against rewards with GRPO, advantages within each prompt's group",
    Settings=GRPOSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_score_state,
)
