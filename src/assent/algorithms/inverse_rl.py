"""Inverse reinforcement learning: a reward from demonstrations against a policy's own samples.

Adversarial (Ho & Ermon 2016, arXiv:1606.03476; Finn et al. 2016, arXiv:1611.03852), D = sigmoid(r):
    loss = -mean log D(demonstration) - mean log(1 - D(sample)).
Maximum entropy (Ziebart et al. 2008; Finn et al. 2016, arXiv:1603.00448), within one prompt:
    loss = -r(demonstration) + log(exp r(demonstration) + sum over its K samples of exp r(sample)).
Both are least at r = log(demonstrator / policy), in the second up to a constant for each prompt.  So the policy that is
optimal for r with a KL penalty of coefficient 1 to the policy that sampled, pi ∝ policy * exp(r), is the demonstrator.
Departures: r is the discriminator's logit itself, log D - log(1 - D), where Finn et al. take log policy apart from it;
the demonstration stands among the samples of its partition function (as in algorithm 2 of arXiv:1603.00448), without
which the loss of a few samples has no lower bound; ``centre`` keeps r near zero (as in the reward model's loss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.config import Settings


class InverseRLSettings(Settings):
    """Settings of inverse reinforcement learning."""

    objective: Literal["adversarial", "maximum-entropy"] = "adversarial"
    """Tell demonstrations and samples apart one by one, or each demonstration among the samples of its prompt."""
    centre: float = Field(default=0.001, ge=0.0)
    """Coefficient of the penalty on (demonstration + sample)^2 that keeps rewards centred on zero."""


def _adversarial(scores: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """-log D(demonstration) and -log(1 - D(sample)), [P] each."""
    return F.softplus(-scores[pairs.chosen]), F.softplus(scores[pairs.rejected])


def _maximum_entropy(scores: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """-r(demonstration) and the log partition function estimated for it, [P] each: the same for all its pairs."""
    shown, drawn = scores[pairs.chosen], scores[pairs.rejected]
    beside = (pairs.chosen[:, None] == pairs.chosen) & pairs.decided  # [P, P], the samples of the same demonstration
    samples = drawn.expand(len(pairs), -1).masked_fill(~beside, float("-inf"))
    return -shown, torch.cat([shown[:, None], samples], 1).logsumexp(1)


OBJECTIVES: Mapping[str, Callable[[Tensor, Pairs], tuple[Tensor, Tensor]]] = {
    "adversarial": _adversarial,
    "maximum-entropy": _maximum_entropy,
}
"""By name: from scores [B] and pairs, the terms [P] of the demonstrations and of the samples."""


def weights(batch: Batch, settings: InverseRLSettings) -> Mapping[str, Part]:
    """Each of K pairs of a demonstration weighs 1 / K on either side: K samples count as much as the one."""
    each = batch.pairs.weights * batch.pairs.decided
    return {"demonstration": row_mean(each), "sample": row_mean(each), "centre": row_mean(each)}


def loss(outputs: Outputs, batch: Batch, settings: InverseRLSettings) -> Loss:
    """Pairs: chosen is a demonstration, rejected a sample of the same prompt.  Ties say nothing and weigh nothing."""
    scores, pairs = outputs.scores[:, 0], batch.pairs
    demonstration, sample = OBJECTIVES[settings.objective](scores, pairs)
    shown, drawn = scores[pairs.chosen], scores[pairs.rejected]
    right = (shown > drawn).to(shown.dtype) + 0.5 * (shown == drawn).to(shown.dtype)
    weight = pairs.weights * pairs.decided
    return Loss(
        terms={"demonstration": demonstration, "sample": sample, "centre": (shown + drawn).square()},
        coefficients={"centre": settings.centre},
        metrics={
            "loss": masked_mean(demonstration + sample, weight),
            "accuracy": masked_mean(right, weight),
            "margin": masked_mean(shown - drawn, weight),
            "score_demonstration": masked_mean(shown, weight),
            "score_sample": masked_mean(drawn, weight),
        },
    )


ALGORITHM = Algorithm(
    name="inverse-rl",
    summary="Learn a reward from demonstrations against a policy's own samples",
    Settings=InverseRLSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset(),
    outputs=frozenset({"scores"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
