"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

loss = -log sigmoid(beta * [(log pi(chosen) - log ref(chosen)) - (log pi(rejected) - log ref(rejected))]),
log-probabilities summed over the completion's tokens, its end-of-sequence token included.  Departures: ties enter with
target 1/2 (they say that the two implied rewards are equal); the pairs of a ranking of K answers weigh 1 / C(K, 2)
each.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import logistic_loss, soft_targets
from assent.config import Settings


class DPOSettings(Settings):
    """Settings of DPO."""

    beta: float = Field(default=0.1, gt=0.0)
    """Strength of the pull to the reference policy: the implied reward is beta * log(pi / ref)."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that a comparison is labelled the wrong way round (conservative DPO)."""


def weights(batch: Batch, settings: DPOSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: DPOSettings) -> Loss:
    mask = batch.completion_mask.to(outputs.logprobs.dtype)
    implied = settings.beta * ((outputs.logprobs - batch["ref_logprobs"]) * mask).sum(1)
    chosen, rejected = implied[batch.pairs.chosen], implied[batch.pairs.rejected]
    pair = logistic_loss(chosen - rejected, soft_targets(batch.pairs, settings.label_smoothing))
    decided = batch.pairs.decided
    return Loss(
        terms={"pair": pair},
        metrics={
            "loss": masked_mean(pair, batch.pairs.weights),
            "accuracy": masked_mean((chosen > rejected).to(pair.dtype), decided),
            "margin": masked_mean(chosen - rejected, decided),
            "reward_chosen": masked_mean(chosen, decided),
            "reward_rejected": masked_mean(rejected, decided),
            "logprob_chosen": masked_mean((outputs.logprobs * mask).sum(1)[batch.pairs.chosen], decided),
        },
    )


ALGORITHM = Algorithm(
    name="dpo",
    summary="Optimise a policy on comparisons directly, without a reward model",
    Settings=DPOSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset({"ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
