"""Reward model from comparisons: Bradley-Terry with the K-choose-2 loss.

loss = -1 / C(K, 2) * E[log sigmoid(r(chosen) - r(rejected))] over all pairs of a ranking of K answers
(Ouyang et al. 2022, arXiv:2203.02155, eq. 1).  All K answers are scored once and stay in one microbatch.  Departures:
ties enter with target 1/2 rather than being dropped; ``centre`` adds centre * (r_chosen + r_rejected)^2 (Eisenstein
et al. 2023, arXiv:2312.09244), which fixes the constant that the likelihood leaves free.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import logistic_loss, soft_targets
from assent.config import Settings


class RewardModelSettings(Settings):
    """Settings of the pairwise reward-model loss."""

    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that a comparison is labelled the wrong way round."""
    centre: float = Field(default=0.001, ge=0.0)
    """Coefficient of the penalty on (chosen + rejected)^2 that keeps rewards centred on zero."""


def weights(batch: Batch, settings: RewardModelSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights), "centre": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: RewardModelSettings) -> Loss:
    pairs = batch.pairs
    chosen, rejected = outputs.scores[pairs.chosen, pairs.heads], outputs.scores[pairs.rejected, pairs.heads]
    gap = chosen - rejected
    pair = logistic_loss(gap, soft_targets(pairs, settings.label_smoothing))
    right = (gap > 0).to(gap.dtype) + 0.5 * (gap == 0).to(gap.dtype)
    return Loss(
        terms={"pair": pair, "centre": (chosen + rejected).square()},
        coefficients={"centre": settings.centre},
        metrics={
            "loss": masked_mean(pair, pairs.weights),
            "accuracy": masked_mean(right, pairs.decided),
            "margin": masked_mean(gap, pairs.decided),
            "score_mean": masked_mean(0.5 * (chosen + rejected), pairs.weights),
        },
    )


ALGORITHM = Algorithm(
    name="reward",
    summary="Train a reward model on comparisons (Bradley-Terry, K-choose-2)",
    Settings=RewardModelSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset(),
    outputs=frozenset({"scores"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
