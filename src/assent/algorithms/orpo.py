"""Odds-ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691, eqs. 4, 6 and 7): no reference, one stage.

loss = nll(chosen) + beta * -log sigmoid(log odds(chosen) - log odds(rejected)), where odds = P / (1 - P) and P is the
geometric mean of the completion's token probabilities.  Departures: ties enter the odds ratio with target 1/2 and the
likelihood not at all; an answer of a ranking counts in the likelihood once, and only where it lost to none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, token_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import best_rows, completion_sums, logistic_loss, pair_figures, soft_targets
from assent.config import Settings

_NEAR_ONE = 1e-6
"""log P is kept this far below 0, where the odds would be infinite."""


class ORPOSettings(Settings):
    """Settings of ORPO."""

    beta: float = Field(default=0.1, ge=0.0)
    """Coefficient of the odds ratio beside the likelihood (the paper's lambda)."""


def weights(batch: Batch, settings: ORPOSettings) -> Mapping[str, Part]:
    trained = batch.completion_mask & best_rows(batch)[:, None]
    return {"pair": row_mean(batch.pairs.weights), "nll": token_mean(trained)}


def log_odds(mean_logprobs: Tensor) -> Tensor:
    """log P - log(1 - P) of P = exp(``mean_logprobs``) [B], which are below 0."""
    near = mean_logprobs.clamp(max=-_NEAR_ONE)
    return near - torch.log(-torch.expm1(near))


def loss(outputs: Outputs, batch: Batch, settings: ORPOSettings) -> Loss:
    pairs = batch.pairs
    odds = log_odds(completion_sums(outputs.logprobs, batch, average=True))
    pair = logistic_loss(odds[pairs.chosen] - odds[pairs.rejected], soft_targets(pairs))
    nll = -outputs.logprobs
    figures = pair_figures(pair, odds, completion_sums(outputs.logprobs, batch), batch, pairs.weights)
    return Loss(
        terms={"pair": pair, "nll": nll},
        coefficients={"pair": settings.beta},
        metrics={**figures, "nll": masked_mean(nll, weights(batch, settings)["nll"].weights)},
    )


ALGORITHM = Algorithm(
    name="orpo",
    summary="Fine-tune on the chosen answers and against the rejected ones at once, without a reference (ORPO)",
    Settings=ORPOSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset(),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
