"""One thing that the loop optimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from assent.algorithms.base import Algorithm
from assent.algorithms.batch import Batch
from assent.data.microbatch import epoch_order
from assent.training.sources import Source


@dataclass(frozen=True)
class Objective:
    """One thing to optimise: where its batches come from, what is done with them, and its share of the gradient."""

    source: Source
    algorithm: Algorithm
    settings: Any
    coefficient: float = 1.0
    epochs: int = 1
    """Passes over each batch."""
    minibatches: int = 1
    """Optimiser updates per pass."""
    name: str = ""
    """Stands before the names of its figures, to tell them from those of the other objectives."""

    def named(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        return {self.name + key: value for key, value in figures.items()}

    def update_batches(self, batch: Batch, seed: int) -> list[Batch]:
        """The batch of each optimiser update, in an order by ``seed``; whole groups go together."""
        if self.epochs * self.minibatches == 1:
            return [batch]
        groups = batch.groups.unique()
        out: list[Batch] = []
        for epoch in range(self.epochs):
            order = torch.as_tensor(epoch_order(len(groups), seed, epoch))
            for chosen in groups[order.to(groups.device)].tensor_split(self.minibatches):
                out.append(batch.select(torch.isin(batch.groups, chosen).nonzero()[:, 0]))
        return out
