"""The whole contract between an algorithm and the loop that runs it.

An algorithm is functions of tensors.  It knows no model, tokenizer, rank, logger or file.  Shapes use the letters
B rows, T tokens, P pairs, G groups.  Everything token-shaped is aligned to the token it speaks of: ``logprobs[b, t]``
is the log-probability of ``tokens[b, t]`` given the tokens before it, and ``values[b, t]`` is the value of the state
*before* that token was chosen.  Rows are padded on the right.

What the loop does with one, per optimiser batch::

    batch, state, figures = algorithm.prepare(batch, settings, state)
    parts = algorithm.weights(batch, settings)             # denominators, before any forward
    for micro in microbatches(batch):
        loss = algorithm.loss(forward(micro), micro, settings)
        sum(c * (term * weight).sum() / count for each part).backward()

A part is one sum with its own denominator, so that microbatching, padding, row order and the number of ranks cannot
change the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from assent.config import Settings

State = Mapping[str, Any]
"""Plain data that an algorithm carries from batch to batch (an adaptive KL coefficient); the loop checkpoints it."""

COLUMNS: Mapping[str, str] = {
    "ref_logprobs": "[B, T] log-probabilities under the reference policy",
    "old_logprobs": "[B, T] log-probabilities under the policy at the start of this batch",
    "values": "[B, T] the critic's values at the start of this batch",
    "scores": "[B] one reward per completion",
    "ended": "[B] 1 where the completion ended by itself, 0 where it was cut off by length",
    "labels": "[B] a judgement of the row: thumbs, score or class",
    "advantages": "[B, T] advantage of each completion token",
    "returns": "[B, T] regression targets of the critic",
}
"""The row-shaped columns an algorithm may name in ``needs`` or add in ``prepare``."""


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, pairs among them, and named columns.

    ``pairs[:, 0]`` and ``pairs[:, 1]`` are row indices of chosen and rejected; a batch without comparisons has P = 0.
    Rows of one group (the K completions of one prompt) are never split between microbatches.
    """

    tokens: Tensor
    """[B, T] int64 token ids."""
    mask: Tensor
    """[B, T] bool, true on real tokens."""
    completion_mask: Tensor
    """[B, T] bool, true on the tokens that the loss concerns: the completion, its end-of-sequence token included."""
    groups: Tensor
    """[B] int64, equal for the completions of one prompt."""
    pairs: Tensor
    """[P, 2] int64 rows of chosen and rejected."""
    pair_weights: Tensor
    """[P] float weight of each pair; the pairs of one ranking of K answers weigh 1 / C(K, 2) each."""
    pair_ties: Tensor
    """[P] bool, true where chosen and rejected have equal standing."""
    columns: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Row-shaped extras by the names of :data:`COLUMNS`: [B] or [B, T]."""

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.columns:
            raise KeyError(f"the batch has no column '{name}'; it has {sorted(self.columns)}: name it in `needs`")
        return self.columns[name]

    def with_columns(self, **columns: Tensor) -> Batch:
        """A copy with these columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    @property
    def rows(self) -> int:
        return self.tokens.shape[0]

    def select(self, rows: Tensor) -> Batch:
        """The sub-batch of these rows ([b] int64), trimmed to its longest row; pairs go where both their rows go."""
        width = int(self.mask[rows].sum(1).max()) if len(rows) else 0
        position = torch.full((self.rows,), -1, dtype=torch.long, device=self.tokens.device)
        position[rows] = torch.arange(len(rows), device=self.tokens.device)
        pairs = position[self.pairs] if len(self.pairs) else self.pairs
        kept = (pairs >= 0).all(1) if len(self.pairs) else torch.zeros(0, dtype=torch.bool, device=self.tokens.device)
        columns = {k: v[rows][:, :width] if v.dim() > 1 else v[rows] for k, v in self.columns.items()}
        return Batch(
            tokens=self.tokens[rows][:, :width],
            mask=self.mask[rows][:, :width],
            completion_mask=self.completion_mask[rows][:, :width],
            groups=self.groups[rows],
            pairs=pairs[kept],
            pair_weights=self.pair_weights[kept],
            pair_ties=self.pair_ties[kept],
            columns=columns,
        )


@dataclass(frozen=True)
class Outputs:
    """What one forward pass gave, with gradient.  A field is empty ([0]) unless the algorithm's ``outputs`` name it."""

    logprobs: Tensor
    """[B, T] log-probability of each token at the sampling temperature."""
    entropy: Tensor
    """[B, T] entropy in nats of the distribution that each token was drawn from."""
    values: Tensor
    """[B, T] the critic's value before each token."""
    scores: Tensor
    """[B] the reward model's scalar at the last real token."""


@dataclass(frozen=True)
class Mean:
    """A figure to log: a sum and its count, so that microbatches and ranks add up exactly."""

    total: Tensor
    count: Tensor


@dataclass(frozen=True)
class Part:
    """The weights of one part of a loss, from the batch alone, and the denominator that they belong to."""

    weights: Tensor
    """Same shape as the part's terms."""
    count: Tensor
    """Scalar: this batch's share of the denominator; shares add up over microbatches and ranks."""


@dataclass(frozen=True)
class Loss:
    """Unreduced terms per part, and figures.  The loop alone reduces."""

    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Mean]
    coefficients: Mapping[str, float] = field(default_factory=dict[str, float])
    """Per part; 1 where not named."""


Figures = Mapping[str, float]


@dataclass(frozen=True)
class Algorithm:
    """One training algorithm.  Adding one is one file with one such record, and one line in the table."""

    name: str
    summary: str
    Settings: type[Settings]
    data: frozenset[str]
    """What it learns from: of {"text", "demonstrations", "comparisons", "judgements", "rollouts"}."""
    needs: frozenset[str]
    """Columns that the loop computes for it, without gradient, before ``prepare``."""
    outputs: frozenset[str]
    """Fields of :class:`Outputs` that its loss reads."""
    prepare: Callable[[Batch, Any, State], tuple[Batch, State, Figures]]
    """Once per optimiser batch or batch of rollouts: advantages, controllers; also the figures it wants logged."""
    weights: Callable[[Batch, Any], Mapping[str, Part]]
    loss: Callable[[Outputs, Batch, Any], Loss]
    initial_state: Callable[[Any], State] = lambda settings: {}


def unprepared(batch: Batch, settings: Settings, state: State) -> tuple[Batch, State, Figures]:
    """The ``prepare`` of an algorithm that needs none."""
    return batch, state, {}


def token_mean(mask: Tensor) -> Part:
    """The mean over all real tokens of the optimiser batch.  ``mask`` [B, T]."""
    weights = mask.float()
    return Part(weights, weights.sum())


def row_mean(rows: Tensor) -> Part:
    """The mean over weighted rows or pairs.  ``rows`` [B] or [P] weights, kept in float64 where they come so."""
    weights = rows if rows.dtype == torch.float64 else rows.float()
    return Part(weights, weights.sum())


def masked_mean(values: Tensor, mask: Tensor) -> Mean:
    """``values`` averaged where ``mask`` is true (or by its weight); both of one shape, detached."""
    weights = mask.to(values.dtype)
    return Mean((values.detach() * weights).sum(), weights.sum())
