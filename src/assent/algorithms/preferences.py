"""Losses of a log-odds of preference, one number per pair in and one term per pair out; and what such losses share.

The ``logits`` [P] are how far the reward of chosen stands above that of rejected: of a reward model, or implied by a
policy.  The ``targets`` [P] are the probability that chosen is the better one; 1/2 in a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.algorithms.base import Mean, masked_mean
from assent.algorithms.batch import Batch, Pairs

PairLoss = Callable[[Tensor, Tensor, float, float], Tensor]
"""(logits [P], targets [P], beta, flips) -> terms [P].  ``flips`` in [0, 1/2) is the share of labels that are the wrong
way round whoever gave them; ``beta`` is the factor of the log-ratio in the logits."""


def soft_targets(pairs: Pairs, smoothing: float = 0.0) -> Tensor:
    """The probability [P] that chosen is the better one: the pair's confidence, smoothed; 1/2 in a tie.

    ``smoothing`` is the share of labels that are the wrong way round whoever gave them.  A tie pulls the two together,
    which is the gradient of half a win each way.
    """
    return smoothed(torch.where(pairs.ties, 0.5, pairs.confidence), smoothing)


def smoothed(targets: Tensor, flips: float) -> Tensor:
    """The targets of labels of which a share ``flips`` is turned round: t (1 - e) + (1 - t) e.  A tie stays one."""
    return targets * (1.0 - flips) + (1.0 - targets) * flips


def logistic_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """-t log sigmoid(logits) - (1 - t) log sigmoid(-logits): Bradley-Terry's likelihood of soft targets.

    The probability that chosen wins is sigmoid(logits).  ``logits``, ``targets`` [P].
    """
    return -(targets * F.logsigmoid(logits) + (1.0 - targets) * F.logsigmoid(-logits))


def sigmoid_loss(logits: Tensor, targets: Tensor, beta: float, flips: float) -> Tensor:
    """DPO (Rafailov et al. 2023, arXiv:2305.18290, eq. 7); with ``flips`` conservative DPO (Mitchell 2023).

    Its optimum is logits = logit(t), with the targets smoothed.  A tie pulls to equality.
    """
    return logistic_loss(logits, smoothed(targets, flips))


def robust_loss(logits: Tensor, targets: Tensor, beta: float, flips: float) -> Tensor:
    """[(1 - e) l(z) - e l(-z)] / (1 - 2 e), l the logistic loss (Chowdhury et al. 2024, arXiv:2403.00409).

    Unbiased: its mean over labels flipped at rate e is the loss of the clean labels.  It is the logistic loss at the
    target (t - e) / (1 - 2 e), the inverse of smoothing, which is above 1 for a sure pair, so that it has no lower
    bound.  A tie pulls to equality.
    """
    return logistic_loss(logits, (targets - flips) / (1.0 - 2.0 * flips))


def ipo_loss(logits: Tensor, targets: Tensor, beta: float, flips: float) -> Tensor:
    """(h - 1 / (2 beta))^2 where h = logits / beta (Azar et al. 2023, arXiv:2310.12036, eq. 17; beta is their tau).

    Soft targets give the mean over the label, t (h - a)^2 + (1 - t) (h + a)^2 with a = 1 / (2 beta), whose optimum is
    h = (2 t - 1) a: bounded, even where people never disagree.  A tie is h^2 + a^2: it pulls to equality.
    """
    target, gap, aim = smoothed(targets, flips), logits / beta, 0.5 / beta
    return target * (gap - aim).square() + (1.0 - target) * (gap + aim).square()


def hinge_loss(logits: Tensor, targets: Tensor, beta: float, flips: float) -> Tensor:
    """max(0, 1 - logits) of SLiC (Zhao et al. 2023, arXiv:2305.10425, with their delta at 1).

    Soft targets ask for the margin m = |2 t - 1|: t max(0, m - z) + (1 - t) max(0, m + z), with its optimum at 2 t - 1.
    A tie is |z| / 2 and pulls to equality; the mean of the hinge over both orders would be flat between -1 and 1.
    """
    target = smoothed(targets, flips)
    margin = (2.0 * target - 1.0).abs()
    return target * F.relu(margin - logits) + (1.0 - target) * F.relu(margin + logits)


PAIR_LOSSES: Mapping[str, PairLoss] = {
    "sigmoid": sigmoid_loss,
    "robust": robust_loss,
    "ipo": ipo_loss,
    "hinge": hinge_loss,
}
"""The losses of a pair by name."""


def completion_sums(values: Tensor, batch: Batch, *, average: bool = False) -> Tensor:
    """[B] the sum of ``values`` [B, T] over each row's completion tokens, or their mean; in float32 at least."""
    mask = batch.completion_mask.to(torch.promote_types(values.dtype, torch.float32))
    sums = (values * mask).sum(1)
    return sums / mask.sum(1).clamp(min=1.0) if average else sums


def best_rows(batch: Batch) -> Tensor:
    """[B] bool, the rows that won a pair and lost none: the chosen answer of a pair, the best ones of a ranking."""
    won = torch.zeros(batch.rows, dtype=torch.bool, device=batch.tokens.device)
    lost, decided = won.clone(), batch.pairs.decided
    won[batch.pairs.chosen[decided]] = True
    lost[batch.pairs.rejected[decided]] = True
    return won & ~lost


def pair_figures(terms: Tensor, rewards: Tensor, logprobs: Tensor, batch: Batch, weights: Tensor) -> dict[str, Mean]:
    """What losses of pairs log: the loss by the ``weights`` of its pairs, and the rest over pairs without tie.

    ``terms``, ``weights`` [P]; ``rewards`` [B] implied by the policy; ``logprobs`` [B] of the completions.
    """
    pairs = batch.pairs
    chosen, rejected = rewards[pairs.chosen], rewards[pairs.rejected]
    return {
        "loss": masked_mean(terms, weights),
        "accuracy": masked_mean((chosen > rejected).to(terms.dtype), pairs.decided),
        "margin": masked_mean(chosen - rejected, pairs.decided),
        "reward_chosen": masked_mean(chosen, pairs.decided),
        "reward_rejected": masked_mean(rejected, pairs.decided),
        "logprob_chosen": masked_mean(logprobs[pairs.chosen], pairs.decided),
    }
