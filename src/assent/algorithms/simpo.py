"""Simple preference optimisation (Meng et al. 2024, arXiv:2405.14734, eq. 6): no reference, mean log-probabilities.

loss = -log sigmoid(beta * [mean log pi(chosen) - mean log pi(rejected)] - gamma), the means over the completion's
tokens.  Departures: ties enter with target 1/2 and without gamma; the pairs of a ranking of K answers weigh
1 / C(K, 2) each.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import completion_sums, logistic_loss, pair_figures, soft_targets
from assent.config import Settings


class SimPOSettings(Settings):
    """Settings of SimPO."""

    beta: float = Field(default=2.0, gt=0.0)
    """The implied reward is beta times the mean log-probability of the completion's tokens."""
    gamma: float = Field(default=1.0, ge=0.0)
    """How far the reward of chosen is to stand above that of rejected; a gamma / beta ratio of 1/2 is usual."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that a comparison is labelled the wrong way round."""


def weights(batch: Batch, settings: SimPOSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: SimPOSettings) -> Loss:
    pairs = batch.pairs
    rewards = settings.beta * completion_sums(outputs.logprobs, batch, average=True)
    logits = rewards[pairs.chosen] - rewards[pairs.rejected] - settings.gamma * pairs.decided.to(rewards.dtype)
    pair = logistic_loss(logits, soft_targets(pairs, settings.label_smoothing))
    logprobs = completion_sums(outputs.logprobs, batch)
    return Loss(terms={"pair": pair}, metrics=pair_figures(pair, rewards, logprobs, batch, pairs.weights))


ALGORITHM = Algorithm(
    name="simpo",
    summary="Optimise a policy on comparisons by length-normalised likelihood, without a reference (SimPO)",
    Settings=SimPOSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset(),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
