"""What every algorithm on rollouts does with scores before its own idea begins, and the figures that it logs."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Figures, Mean, Part, State, masked_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.kl import adapt_coefficient, k1, k3
from assent.config import Settings


class EndSettings(Settings):
    """All that matters of the scores where completions are but put in order by them."""

    missing_eos_penalty: float = Field(default=0.0, ge=0.0)
    """Taken from the score of a completion that was cut off by length."""
    uncertainty_penalty: float = Field(default=0.0, ge=0.0)
    """Taken from a score for each standard deviation of it, where the source of rewards tells one (an ensemble)."""


class ScoreSettings(EndSettings):
    """From the reward's scores to what is optimised."""

    scale_rewards: bool = False
    """Divide scores by their running standard deviation over the batches so far, without shifting their mean."""
    reward_clip: float | None = Field(default=None, gt=0.0)
    """Scores, once scaled, are clipped to [-reward_clip, reward_clip]; unset = no clipping."""
    cost_limit: float | None = None
    """Mean cost that a constrained reward is held to by a Lagrange multiplier; unset = no constraint."""
    multiplier: float = Field(default=1.0, ge=0.0)
    """The Lagrange multiplier at the start."""
    multiplier_rate: float = Field(default=1.0, ge=0.0)
    """How far a step moves the multiplier for each unit of mean cost over the limit; 0 = it stays."""


class KLSettings(Settings):
    """The penalty for leaving the reference policy, fixed or adaptive."""

    kl_coefficient: float = Field(default=0.05, ge=0.0)
    """Coefficient of the KL penalty to the reference policy; the starting value when adaptive."""
    kl_target: float | None = Field(default=None, gt=0.0)
    """Nats per completion that the adaptive controller aims at; unset = the coefficient stays fixed."""
    kl_horizon: float = Field(default=10000.0, gt=0.0)
    """Episodes over which the adaptive controller reacts."""


def initial_score_state(settings: ScoreSettings) -> State:
    """The multiplier of a constraint, where there is one; and, where scores are scaled, the count, mean and sum of
    squared deviations of all of them so far (Welford)."""
    multiplier = {} if settings.cost_limit is None else {"multiplier": settings.multiplier}
    moments = {"score_count": 0.0, "score_mean": 0.0, "score_m2": 0.0} if settings.scale_rewards else {}
    return {**multiplier, **moments}


def initial_kl_state(settings: KLSettings) -> State:
    return {"kl_coefficient": settings.kl_coefficient}


def ended_scores(batch: Batch, settings: EndSettings) -> Tensor:
    """[B] scores with the penalties for a missing end and for uncertainty."""
    scores = batch["scores"] - settings.missing_eos_penalty * (1.0 - batch["ended"])
    return scores - settings.uncertainty_penalty * batch["uncertainty"] if settings.uncertainty_penalty else scores


def shaped_scores(batch: Batch, settings: ScoreSettings, state: State) -> tuple[Tensor, State]:
    """[B] scores with their penalties, constrained, scaled and clipped; and the state with this batch counted in."""
    scores = ended_scores(batch, settings)
    if settings.cost_limit is not None:
        scores, state = _constrained(scores, batch["costs"], settings.cost_limit, settings.multiplier_rate, state)
    if settings.scale_rewards:
        state = {**state, **_welford(state, scores)}
        variance = state["score_m2"] / max(state["score_count"] - 1.0, 1.0)
        if variance > 1e-12:
            scores = scores / variance**0.5
    if settings.reward_clip is not None:
        scores = scores.clamp(-settings.reward_clip, settings.reward_clip)
    return scores, state


def _constrained(scores: Tensor, costs: Tensor, limit: float, rate: float, state: State) -> tuple[Tensor, State]:
    """The Lagrangian of max E[score] subject to E[cost] <= limit: (score - l * cost) / (1 + l), and l by dual ascent.

    Dai et al. 2023 (Safe RLHF, arXiv:2310.12773, eq. 11 and 31), whose division keeps the scale of rewards as l grows.
    Departure: l is moved by projected gradient ascent, l <- max(0, l + rate * (mean cost - limit)), and not its
    logarithm, so that it can be none and come back from there.
    """
    multiplier = float(state["multiplier"])
    after = max(0.0, multiplier + rate * (float(costs.double().mean()) - limit))
    return (scores - multiplier * costs) / (1.0 + multiplier), {**state, "multiplier": after}


def _welford(state: State, scores: Tensor) -> dict[str, float]:
    """Chan et al. 1979: the moments of what was seen before and of this batch together."""
    before, here = float(state["score_count"]), float(len(scores))
    gap = float(scores.double().mean()) - float(state["score_mean"])
    spread = float((scores.double() - scores.double().mean()).square().sum())
    total = before + here
    return {
        "score_count": total,
        "score_mean": float(state["score_mean"]) + gap * here / total,
        "score_m2": float(state["score_m2"]) + spread + gap * gap * before * here / total,
    }


def token_kl(batch: Batch) -> Tensor:
    """[B, T] the k1 estimate log pi_old - log ref of each completion token; zero elsewhere."""
    return k1(batch["old_logprobs"], batch["ref_logprobs"]) * batch.completion_mask.to(batch["scores"].dtype)


def adapted(batch: Batch, settings: KLSettings, state: State) -> State:
    """The state with the KL coefficient of the next batch; unchanged where no ``kl_target`` is set."""
    if settings.kl_target is None:
        return state
    kl, coefficient = float(token_kl(batch).sum(1).mean()), float(state["kl_coefficient"])
    after = adapt_coefficient(coefficient, kl, settings.kl_target, settings.kl_horizon, batch.rows)
    return {**state, "kl_coefficient": after}


def rollout_figures(batch: Batch, **more: Any) -> Figures:
    """Scores, KL to the reference (where the batch has it) and lengths of the rollouts; ``more`` as floats."""
    weights = batch.completion_mask.to(batch["scores"].dtype)
    kl: dict[str, float] = {}
    if "ref_logprobs" in batch.columns:
        kl["kl"] = float(token_kl(batch).sum(1).mean())
        kl["kl_k3"] = float((k3(batch["old_logprobs"], batch["ref_logprobs"]) * weights).sum(1).mean())
    return {
        "reward_mean": float(batch["scores"].mean()),
        "reward_std": float(batch["scores"].std(unbiased=False)),
        **kl,
        "completion_tokens": float(weights.sum() / batch.rows),
        "ended_share": float(batch["ended"].mean()),
        **{name: float(value) for name, value in more.items()},
    }


def policy_metrics(
    terms: Tensor, clipped: Tensor, log_ratios: Tensor, part: Part, outputs: Outputs, batch: Batch
) -> dict[str, Mean]:
    """The surrogate's figures over an update: its loss, where the clip held, the ratio, and KL(old, new) per token.

    ``terms``, ``clipped`` and ``log_ratios`` are all [B, T] or all [B], as the surrogate gave them; ``part`` holds the
    weights of the terms.
    """
    mask = batch.completion_mask
    weights = mask if terms.dim() == 2 else torch.ones_like(terms)
    return {
        "policy_loss": Mean((terms.detach() * part.weights).sum(), part.count),
        "ratio_clipped": masked_mean(clipped, weights),
        "ratio_mean": masked_mean(log_ratios.detach().exp(), weights),
        "approximate_kl": masked_mean(k3(batch["old_logprobs"], outputs.logprobs.detach()), mask),
    }
