"""Reward model from judgements: one logit per completion, trained by cross-entropy against a 0/1 label.

The reward is the log-odds of the good label.  Labels between 0 and 1 are soft targets (the share of annotators who said
yes).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.config import Settings


class RewardClassifierSettings(Settings):
    """The classifier's loss has no settings of its own."""


def weights(batch: Batch, settings: RewardClassifierSettings) -> Mapping[str, Part]:
    return {"label": row_mean(batch["labels"].new_ones(batch.rows))}


def loss(outputs: Outputs, batch: Batch, settings: RewardClassifierSettings) -> Loss:
    scores = outputs.scores[:, 0]
    labels = batch["labels"].to(scores.dtype)
    terms = F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    right = ((scores > 0) == (labels > 0.5)).to(terms.dtype)
    every = right.new_ones(batch.rows)
    return Loss(
        terms={"label": terms},
        metrics={
            "loss": masked_mean(terms, every),
            "accuracy": masked_mean(right, every),
            "score_mean": masked_mean(scores, every),
        },
    )


ALGORITHM = Algorithm(
    name="reward-classifier",
    summary="Train a reward model on labelled completions (sentiment, thumbs)",
    Settings=RewardClassifierSettings,
    data=frozenset({"judgements"}),
    needs=frozenset({"labels"}),
    outputs=frozenset({"scores"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
