"""An algorithm of assent run on the rows of a fixture, as the training loop runs it; how far that is from a golden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from assent.algorithms import load_algorithm
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss
from tests.golden.fixture import Rows, masks, padded

Spoil = Callable[[Batch], Batch]
"""An error put into the batch, to see that it is noticed."""


@dataclass(frozen=True)
class Result:
    """Of one optimiser batch: the loss, and its gradient by what the models gave, in the rows of the fixture."""

    loss: float
    gradient: Tensor
    """[B, T] of token log-probabilities; [B, 1] of a reward model's scores."""
    values: Tensor
    """[B, T] of the critic's values."""
    batch: Batch
    """As ``prepare`` left it."""

    def negated(self) -> Result:
        return Result(-self.loss, -self.gradient, -self.values, self.batch)


def batch_of(rows: Rows, dtype: torch.dtype, **columns: Tensor) -> Batch:
    """The rows as a batch; the first token of each is its number.  Without pairs."""
    real, completion = masks(rows)
    given = {name: padded(rows, name) for name in ("old_logprobs", "ref_logprobs") if name in rows}
    numbers = torch.arange(len(real))[:, None].expand(real.shape)
    per_group = rows.get("group_size", 1)
    return Batch(
        tokens=numbers,
        mask=real,
        completion_mask=completion,
        groups=torch.arange(len(real)) // per_group,
        pairs=Pairs.none(),
        columns={name: value.to(dtype) for name, value in {**given, **columns}.items()},
    )


def halves(rows: int, dtype: torch.dtype, margins: Tensor | None = None) -> Pairs:
    """The first half of the rows against the second, as the fixtures have chosen and rejected."""
    first = torch.arange(rows // 2)
    return Pairs.of(torch.stack([first, first + rows // 2], 1), margins=margins).to(dtype)


def scored_batch(rows: Rows, margins: bool, dtype: torch.dtype = torch.float64) -> Batch:
    """Pairs of which only the reward model's scores count, with the fixture's margins or with none."""
    count = len(rows["scores"])
    one_token = {"prompt_lengths": [1] * count, "completion_lengths": [1] * count}
    apart = torch.tensor(rows["margins"], dtype=torch.float64) if margins else None
    return replace(batch_of(one_token, dtype), pairs=halves(count, dtype, apart))


def prepared(name: str, settings: Mapping[str, Any], batch: Batch) -> Batch:
    """What the algorithm's ``prepare`` makes of the batch, at its first update."""
    algorithm = load_algorithm(name)
    chosen = algorithm.Settings(**settings)
    return algorithm.prepare(batch, chosen, algorithm.initial_state(chosen))[0]


def run(name: str, settings: Mapping[str, Any], batch: Batch, **leaves: Tensor) -> Result:
    """``weights``, ``loss`` and the loop's reduction of a prepared batch, on outputs that are the ``leaves``; backward.

    ``leaves``: logprobs, values and entropy [B, T] by the number of the row; scores [B, 1].
    """
    algorithm = load_algorithm(name)
    chosen = algorithm.Settings(**settings)
    dtype = next(iter(leaves.values())).dtype
    tables = {key: value.detach().requires_grad_() for key, value in leaves.items()}
    there, width = batch.tokens[:, 0], batch.tokens.shape[1]
    empty = torch.zeros(0, dtype=dtype)
    outputs = Outputs(
        **{
            key: tables[key][there][:, :width] if key in tables else empty
            for key in ("logprobs", "entropy", "values", "scores")
        }
    )
    parts = algorithm.weights(batch, chosen)
    loss = algorithm.loss(outputs, batch, chosen)
    total = reduce_loss(loss.terms, loss.coefficients, parts, {key: part.count for key, part in parts.items()})
    total.backward()
    gradients = {key: empty if table.grad is None else table.grad for key, table in tables.items()}
    first = "scores" if "scores" in tables else "logprobs"
    return Result(float(total.detach()), gradients[first], gradients.get("values", empty), batch)


def distance(found: Tensor, golden: Tensor) -> float:
    """The greatest difference, relative to the greatest entry of the golden one.  A flipped sign is at 2."""
    return float((found.double() - golden).abs().max() / golden.abs().max().clamp(min=1e-300))


def loss_distance(result: Result, golden: Mapping[str, Any]) -> float:
    return distance(*torch.tensor([result.loss, golden["loss"]], dtype=torch.float64))
