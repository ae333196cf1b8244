"""Batches of rollouts small enough to work out by hand, in float64, and what an algorithm makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assent.algorithms.base import Algorithm
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss

GARBAGE = 7.0
"""What stands in the columns where there is no completion token."""


def rollouts(
    scores: Sequence[float],
    groups: Sequence[int],
    old: Sequence[Sequence[float]],
    ref: Sequence[Sequence[float]] | None = None,
    ended: Sequence[float] | None = None,
) -> Batch:
    """Completions after a prompt of one token; ``old`` and ``ref`` are their tokens' log-probabilities."""
    rows, width = len(old), 1 + max(map(len, old))
    mask = torch.zeros(rows, width, dtype=torch.bool)
    for i, row in enumerate(old):
        mask[i, : 1 + len(row)] = True
    completion = mask.clone()
    completion[:, 0] = False
    return Batch(
        tokens=torch.ones(rows, width, dtype=torch.long),
        mask=mask,
        completion_mask=completion,
        groups=torch.tensor(groups),
        pairs=Pairs.none(),
        columns={
            "scores": torch.tensor(scores, dtype=torch.float64),
            "ended": torch.ones(rows).double() if ended is None else torch.tensor(ended, dtype=torch.float64),
            "old_logprobs": filled(completion, old),
            "ref_logprobs": filled(completion, old if ref is None else ref),
        },
    )


def filled(mask: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    out = torch.full(mask.shape, GARBAGE, dtype=torch.float64)
    out[mask] = torch.tensor([x for row in rows for x in row], dtype=torch.float64)
    return out


@dataclass(frozen=True)
class Made:
    """One update: the batch as prepared, the reduced loss, its gradient [B, T] in the log-probabilities, figures."""

    batch: Batch
    state: Any
    loss: float
    gradient: Tensor
    figures: dict[str, float]

    @property
    def advantages(self) -> list[Any]:
        return self.batch["advantages"].tolist()

    def rows(self) -> list[list[float]]:
        """The gradient of each row's completion tokens; elsewhere it must be zero."""
        assert self.gradient[~self.batch.completion_mask].abs().max() == 0
        return [g[m].tolist() for g, m in zip(self.gradient, self.batch.completion_mask, strict=True)]


def update(
    algorithm: Algorithm, batch: Batch, moved: Sequence[Sequence[float]] | None = None, state: Any = None, **given: Any
) -> Made:
    """Prepare, and one loss; ``moved`` is what the policy's log-probabilities have changed by since it sampled."""
    settings = algorithm.Settings(**given)
    started = algorithm.initial_state(settings) if state is None else state
    batch, after, figures = algorithm.prepare(batch, settings, started)
    logprobs = batch["old_logprobs"].clone()
    if moved is not None:
        logprobs[batch.completion_mask] += torch.tensor([x for row in moved for x in row], dtype=torch.float64)
    logprobs.requires_grad_()
    none = torch.zeros(0)
    loss = algorithm.loss(Outputs(logprobs, none, none, none), batch, settings)
    parts = algorithm.weights(batch, settings)
    total = reduce_loss(loss.terms, loss.coefficients, parts, {name: part.count for name, part in parts.items()})
    total.backward()
    assert logprobs.grad is not None
    means = {name: float(mean.total / mean.count) for name, mean in loss.metrics.items()}
    return Made(batch, after, float(total.detach()), logprobs.grad, {**figures, **means})
