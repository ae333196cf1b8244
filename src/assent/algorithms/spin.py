"""SPIN: self-play fine-tuning (Chen et al. 2024, arXiv:2401.01335, eq. 4.7).

loss = l(beta * [(log pi - log ref)(demonstration) - (log pi - log ref)(sample)]),  l(t) = log(1 + exp(-t)),
log-probabilities summed over the completion's tokens.  The sample is the opponent's, and the opponent is the reference:
the policy as it was when the iteration began.  This is DPO's loss; what differs is what the pairs are, and so where it
ends: an iteration's exact solution is pi ∝ ref * (data / ref)^(1 / beta) (theorem 5.4), and nothing moves once the
policy is the demonstrator (theorem 5.2).  Departures: several samples for a demonstration; pairs that are ties, which
SPIN has none of, weigh nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field

from assent.algorithms.base import Algorithm, Loss, Part, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.preferences import PAIR_LOSSES, completion_sums, pair_figures
from assent.config import Settings


class SPINSettings(Settings):
    """Settings of SPIN."""

    beta: float = Field(default=0.1, gt=0.0)
    """The paper's lambda, the pull to the opponent: the implied reward is beta * log(pi / opponent)."""
    loss: Literal["sigmoid", "hinge"] = "sigmoid"
    """What is asked of a pair: logistic, or hinge (both in the authors' code; the paper has any convex falling one)."""


def weights(batch: Batch, settings: SPINSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights * batch.pairs.decided)}


def loss(outputs: Outputs, batch: Batch, settings: SPINSettings) -> Loss:
    """Of a pair, chosen is a demonstration and rejected a sample of the reference."""
    pairs = batch.pairs
    rewards = settings.beta * completion_sums(outputs.logprobs - batch["ref_logprobs"], batch)
    gap = rewards[pairs.chosen] - rewards[pairs.rejected]
    pair = PAIR_LOSSES[settings.loss](gap, torch.ones_like(gap), settings.beta, 0.0)
    logprobs = completion_sums(outputs.logprobs, batch)
    return Loss(
        terms={"pair": pair},
        metrics=pair_figures(pair, rewards, logprobs, batch, pairs.weights * pairs.decided),
    )


ALGORITHM = Algorithm(
    name="spin",
    summary="Fine-tune a policy on demonstrations against its own samples (SPIN)",
    Settings=SPINSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset({"ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
