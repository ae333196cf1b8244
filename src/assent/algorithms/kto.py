"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306, section 4): from thumbs up and down.

r = log pi / ref of the completion, and z0 an estimate of KL(pi || ref) by the batch's mismatched rows, each a
completion after another row's prompt: z0 = max(0, mean of log pi / ref over them), without gradient.

    desirable (label 1):    lambda_desirable   * [1 - sigmoid(beta * (r - z0))]
    undesirable (label 0):  lambda_undesirable * [1 - sigmoid(beta * (z0 - r))]

Departures: a label between 0 and 1 takes its share of both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean, row_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import completion_sums
from assent.config import Settings


class KTOSettings(Settings):
    """Settings of KTO."""

    beta: float = Field(default=0.1, gt=0.0)
    """How soon the value of a gain or loss saturates; smaller lets the policy go further from the reference."""
    lambda_desirable: float = Field(default=1.0, ge=0.0)
    """Weight of the desirable answers."""
    lambda_undesirable: float = Field(default=1.0, ge=0.0)
    """Weight of the undesirable answers; the paper has the kinds weigh 1:1 to 4:3 in all, times their number."""


def prepare(batch: Batch, settings: KTOSettings, state: State) -> tuple[Batch, State, Figures]:
    """The baseline z0 from the mismatched rows, which are then left out; 0 where the batch has none."""
    mismatched = batch["mismatched"] > 0.5
    log_ratios = completion_sums(batch["old_logprobs"] - batch["ref_logprobs"], batch)
    found = masked_mean(log_ratios, mismatched)
    baseline = (found.total / found.count.clamp(min=1.0)).clamp(min=0.0)
    kept = batch.select((~mismatched).nonzero()[:, 0])
    return kept.with_columns(kl_baseline=baseline.expand(kept.rows)), state, {"kl_baseline": float(baseline)}


def weights(batch: Batch, settings: KTOSettings) -> Mapping[str, Part]:
    return {"value": row_mean(torch.ones_like(batch["labels"]))}


def loss(outputs: Outputs, batch: Batch, settings: KTOSettings) -> Loss:
    labels = batch["labels"]
    rewards = settings.beta * completion_sums(outputs.logprobs - batch["ref_logprobs"], batch)
    gains = rewards - settings.beta * batch["kl_baseline"]
    desirable = settings.lambda_desirable * torch.sigmoid(-gains)
    undesirable = settings.lambda_undesirable * torch.sigmoid(gains)
    value = labels * desirable + (1.0 - labels) * undesirable
    return Loss(
        terms={"value": value},
        metrics={
            "loss": masked_mean(value, torch.ones_like(value)),
            "accuracy": masked_mean(((gains > 0) == (labels > 0.5)).to(value.dtype), labels != 0.5),
            "reward_desirable": masked_mean(rewards, labels),
            "reward_undesirable": masked_mean(rewards, 1.0 - labels),
        },
    )


ALGORITHM = Algorithm(
    name="kto",
    summary="Optimise a policy on answers judged one by one, good or bad (KTO)",
    Settings=KTOSettings,
    data=frozenset({"comparisons", "judgements"}),
    needs=frozenset({"labels", "mismatched", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
)
