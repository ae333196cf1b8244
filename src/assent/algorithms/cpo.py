"""Contrastive preference optimisation (Xu et al. 2024, arXiv:2401.08417, eq. 3): no reference, but a likelihood.

loss = -log sigmoid(beta * [log pi(chosen) - log pi(rejected)]) + nll_coefficient * nll(chosen), log-probabilities
summed over the completion's tokens.  Departures: the likelihood is the mean over the tokens of the optimiser batch, not
over sequences; ties enter the contrast with target 1/2 and the likelihood not at all; an answer of a ranking counts in
the likelihood once, and only where it lost to none.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, token_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import best_rows, completion_sums, logistic_loss, pair_figures, soft_targets
from assent.config import Settings


class CPOSettings(Settings):
    """Settings of CPO."""

    beta: float = Field(default=0.1, gt=0.0)
    """The implied reward is beta times the log-probability of the completion."""
    nll_coefficient: float = Field(default=1.0, ge=0.0)
    """Coefficient of the likelihood of the chosen answers, which keeps the policy near them."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that a comparison is labelled the wrong way round."""


def weights(batch: Batch, settings: CPOSettings) -> Mapping[str, Part]:
    trained = batch.completion_mask & best_rows(batch)[:, None]
    return {"pair": row_mean(batch.pairs.weights), "nll": token_mean(trained)}


def loss(outputs: Outputs, batch: Batch, settings: CPOSettings) -> Loss:
    pairs = batch.pairs
    logprobs = completion_sums(outputs.logprobs, batch)
    rewards = settings.beta * logprobs
    pair = logistic_loss(rewards[pairs.chosen] - rewards[pairs.rejected], soft_targets(pairs, settings.label_smoothing))
    nll = -outputs.logprobs
    figures = pair_figures(pair, rewards, logprobs, batch, pairs.weights)
    return Loss(
        terms={"pair": pair, "nll": nll},
        coefficients={"nll": settings.nll_coefficient},
        metrics={**figures, "nll": masked_mean(nll, weights(batch, settings)["nll"].weights)},
    )


ALGORITHM = Algorithm(
    name="cpo",
    summary="Optimise a policy on comparisons against likelihood of the chosen answers, without a reference (CPO)",
    Settings=CPOSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset(),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
