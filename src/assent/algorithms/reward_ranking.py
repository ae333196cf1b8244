"""Reward model from whole rankings: Plackett-Luce (Luce 1959; Plackett 1975, J. R. Stat. Soc. C 24, 193-202).

loss = -log prod_i exp(s_i) / sum_{j at i or below} exp(s_j), one term per ranking.  ``depth`` 1 is the softmax
cross-entropy of the best of K; K = 2 is Bradley-Terry.  The rankings are put together again from their pairs, whose
weights add up to the ranking's; a group is never split, so that each microbatch has whole rankings.  Ties and the
confidence in annotators: :func:`~assent.algorithms.rankings.plackett_luce_loss`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.rankings import ScoreSettings, plackett_luce_loss, rankings_of, score_figures


class RewardRankingSettings(ScoreSettings):
    """Settings of the listwise reward-model loss."""

    depth: int | None = Field(default=None, gt=0)
    """Places of a ranking that count, from the best down: 1 = the best of K alone; unset = the full ranking."""


def weights(batch: Batch, settings: RewardRankingSettings) -> Mapping[str, Part]:
    rankings = batch.pairs.weights.new_tensor([ranking.weight for ranking in rankings_of(batch)])
    return {"ranking": row_mean(rankings), "centre": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: RewardRankingSettings) -> Loss:
    pairs, rankings = batch.pairs, rankings_of(batch)
    scores = outputs.scores
    terms = plackett_luce_loss(scores, rankings, settings.depth, settings.label_smoothing)
    total = scores[pairs.chosen, pairs.heads] + scores[pairs.rejected, pairs.heads]
    return Loss(
        terms={"ranking": terms, "centre": total.square()},
        coefficients={"centre": settings.centre},
        metrics={
            "loss": masked_mean(terms, terms.new_tensor([ranking.weight for ranking in rankings])),
            **score_figures(scores, pairs),
        },
    )


ALGORITHM = Algorithm(
    name="reward-ranking",
    summary="Train a reward model on whole rankings (Plackett-Luce)",
    Settings=RewardRankingSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset(),
    outputs=frozenset({"scores"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
