"""Losses of a log-odds of preference: one number per pair in, one term per pair out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.algorithms.batch import Pairs


def soft_targets(pairs: Pairs, smoothing: float = 0.0) -> Tensor:
    """The probability [P] that chosen is the better one: the pair's confidence, smoothed; 1/2 in a tie.

    ``smoothing`` is the share of labels that are the wrong way round whoever gave them.  A tie pulls the two together,
    which is the gradient of half a win each way.
    """
    sure = pairs.confidence
    return torch.where(pairs.ties, 0.5, sure * (1.0 - smoothing) + (1.0 - sure) * smoothing)


def logistic_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """-t log sigmoid(logits) - (1 - t) log sigmoid(-logits): Bradley-Terry's likelihood of soft targets.

    The probability that chosen wins is sigmoid(logits).  ``logits``, ``targets`` [P].
    """
    return -(targets * F.logsigmoid(logits) + (1.0 - targets) * F.logsigmoid(-logits))
