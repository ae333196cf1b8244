"""Reward model from judgements of single completions: by cross-entropy with 0/1 labels, or least squares with numbers.

``logistic``: the score is the log-odds of the good label.  Labels between 0 and 1 are soft targets (the share of
annotators who said yes).  ``squared``: the score is the label itself, whatever its scale (stars, points).  Each row
trains the head of the criterion that it was judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.config import Settings


class RewardClassifierSettings(Settings):
    """Settings of a reward model's loss on labels."""

    label_loss: Literal["logistic", "squared"] = "logistic"
    """Cross-entropy against labels from 0 to 1, or squared error against labels on any scale."""
    good_weight: float = Field(default=1.0, gt=0.0)
    """Weight of a good label, a bad one being 1 (logistic only); to balance classes, the number of bad over good."""


def _good_weights(labels: Tensor, settings: RewardClassifierSettings) -> Tensor:
    """Weight [B] of each row: ``good_weight`` of its good part, 1 of its bad part."""
    if settings.label_loss == "squared":
        return labels.new_ones(labels.shape)
    return settings.good_weight * labels + 1.0 - labels


def _logistic(scores: Tensor, labels: Tensor, weights: Tensor, good_weight: float) -> Tensor:
    """Times the weights [B]: -good_weight * y * log sigmoid(s) - (1 - y) * log sigmoid(-s)."""
    return F.binary_cross_entropy_with_logits(scores, good_weight * labels / weights, reduction="none")


def _squared(scores: Tensor, labels: Tensor, weights: Tensor, good_weight: float) -> Tensor:
    return (scores - labels).square()


LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {"logistic": _logistic, "squared": _squared}


def weights(batch: Batch, settings: RewardClassifierSettings) -> Mapping[str, Part]:
    return {"label": row_mean(_good_weights(batch["labels"], settings))}


def loss(outputs: Outputs, batch: Batch, settings: RewardClassifierSettings) -> Loss:
    scores = outputs.scores.gather(1, batch["heads"].long()[:, None])[:, 0]
    labels = batch["labels"].to(scores.dtype)
    share = _good_weights(labels, settings)
    terms = LOSSES[settings.label_loss](scores, labels, share, settings.good_weight)
    every = share.new_ones(batch.rows)
    metrics = {"loss": masked_mean(terms, share), "score_mean": masked_mean(scores, every)}
    if settings.label_loss == "logistic":
        metrics["accuracy"] = masked_mean(((scores > 0) == (labels > 0.5)).to(terms.dtype), every)
    return Loss(terms={"label": terms}, metrics=metrics)


ALGORITHM = Algorithm(
    name="reward-classifier",
    summary="Train a reward model on labelled completions (sentiment, thumbs, scores)",
    Settings=RewardClassifierSettings,
    data=frozenset({"judgements"}),
    needs=frozenset({"labels", "heads"}),
    outputs=frozenset({"scores"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
