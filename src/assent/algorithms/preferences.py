"""Losses of a log-odds of preference: one number per pair in, one term per pair out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def logistic_loss(logits: Tensor, ties: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(logits) towards the soft target 1 - smoothing, or 1/2 where the pair is a tie.

    Bradley-Terry's likelihood with the probability that chosen wins = sigmoid(logits).  A tie pulls the two together,
    which is the gradient of half a win each way.  ``logits``, ``ties`` [P].
    """
    target = logits.new_full(logits.shape, 1.0 - smoothing)
    target = target.masked_fill(ties, 0.5)
    return -(target * F.logsigmoid(logits) + (1.0 - target) * F.logsigmoid(-logits))
