"""The one place where unreduced terms become a loss, and figures about a whole batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from assent.algorithms.base import Part
from assent.algorithms.batch import Batch


def reduce_loss(
    terms: Mapping[str, torch.Tensor],
    coefficients: Mapping[str, float],
    parts: Mapping[str, Part],
    counts: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """Sum over parts of coefficient * (term * weight).sum() / count, the count being the optimiser batch's.

    A part whose coefficient is zero is left out, so that it costs no backward pass.
    """
    total = torch.zeros((), device=next(iter(counts.values())).device)
    for name, term in terms.items():
        coefficient = coefficients.get(name, 1.0)
        if coefficient:
            total = total + coefficient * (term * parts[name].weights).sum() / counts[name].clamp(min=1e-12)
    return total


def mismatch(batch: Batch) -> dict[str, float]:
    """How far the engine's log-probabilities are from the trainer's: the mean absolute difference per token."""
    if not {"engine_logprobs", "old_logprobs"} <= set(batch.columns):
        return {}
    gap = (batch["engine_logprobs"] - batch["old_logprobs"]).abs() * batch.completion_mask
    return {"engine_mismatch": float(gap.sum() / batch.completion_mask.sum().clamp(min=1))}
