"""A step between two of its updates: the batches that it trains on, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from assent.algorithms.base import Mean
from assent.algorithms.batch import Batch, Pairs
from assent.training.gradient import Sums


@dataclass
class Unfinished:
    """What a step has made before its updates (rollouts with their advantages), and the updates done."""

    batches: Sequence[Batch]
    """One for each objective, prepared."""
    figures: dict[str, float]
    updates: int = 0
    sums: Sums = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Plain data and tensors."""
        return {
            "batches": [_plain(batch) for batch in self.batches],
            "figures": self.figures,
            "updates": self.updates,
            "sums": {name: (mean.total, mean.count) for name, mean in self.sums.items()},
        }

    @classmethod
    def restored(cls, state: dict[str, Any], device: torch.device) -> Unfinished:
        batches = [_moved(batch, device) for batch in state["batches"]]
        sums = {name: Mean(*(part.to(device) for part in pair)) for name, pair in state["sums"].items()}
        return cls(
            batches=[Batch(**{**batch, "pairs": Pairs(**batch["pairs"])}) for batch in batches],
            figures=dict(state["figures"]),
            updates=int(state["updates"]),
            sums=sums,
        )


def _plain(batch: Batch) -> dict[str, Any]:
    pairs = {part.name: getattr(batch.pairs, part.name) for part in fields(Pairs)}
    return {part.name: getattr(batch, part.name) for part in fields(Batch)} | {
        "pairs": pairs,
        "columns": dict(batch.columns),
    }


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device)
