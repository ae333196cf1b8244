"""Reward model from comparisons: Bradley-Terry with the K-choose-2 loss, with margins, models of ties, several heads.

loss = -1 / C(K, 2) * E[log sigmoid(r(chosen) - r(rejected) - margin * m)] over all pairs of a ranking of K answers
(Ouyang et al. 2022, arXiv:2203.02155, eq. 1), with the margin m of a pair as in Llama 2 (Touvron et al. 2023,
arXiv:2307.09288, eq. 2).  All K answers are scored once and stay in one microbatch.  Departures: ties are used and not
dropped, by one of :data:`TIES`; ``centre`` adds centre * (r_chosen + r_rejected)^2 (Eisenstein et al. 2023,
arXiv:2312.09244), which fixes the constant that the likelihood leaves free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.rankings import (
    Outcomes,
    ScoreSettings,
    comparison_loss,
    davidson,
    half,
    rao_kupper,
    score_figures,
)


class RewardModelSettings(ScoreSettings):
    """Settings of the pairwise reward-model loss."""

    margin: float = Field(default=0.0, ge=0.0)
    """How much of a pair's margin (steps of rank) the chosen score must be ahead by; 0 = any lead will do."""
    ties: Literal["half", "davidson", "rao-kupper"] = "half"
    """What a tie says: half a win each way, or an outcome of its own by Davidson's or Rao and Kupper's model."""
    davidson_nu: float = Field(default=1.0, gt=0.0)
    """Davidson's nu: two equal answers tie with probability nu / (2 + nu)."""
    rao_kupper_theta: float = Field(default=2.0, gt=1.0)
    """Rao and Kupper's theta: two equal answers tie with probability (theta - 1) / (theta + 1)."""


TIES: Mapping[str, Callable[[RewardModelSettings], Outcomes]] = {
    "half": lambda settings: half,
    "davidson": lambda settings: partial(davidson, nu=settings.davidson_nu),
    "rao-kupper": lambda settings: partial(rao_kupper, theta=settings.rao_kupper_theta),
}


def weights(batch: Batch, settings: RewardModelSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights), "centre": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: RewardModelSettings) -> Loss:
    pairs = batch.pairs
    chosen, rejected = outputs.scores[pairs.chosen, pairs.heads], outputs.scores[pairs.rejected, pairs.heads]
    outcomes = TIES[settings.ties](settings)
    pair = comparison_loss(chosen - rejected, pairs, outcomes, settings.label_smoothing, settings.margin)
    return Loss(
        terms={"pair": pair, "centre": (chosen + rejected).square()},
        coefficients={"centre": settings.centre},
        metrics={"loss": masked_mean(pair, pairs.weights), **score_figures(outputs.scores, pairs)},
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
