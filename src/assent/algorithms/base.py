"""The whole contract between an algorithm and the loop that runs it.

An algorithm is functions of tensors.  It knows no model, tokenizer, rank, logger or file.  Its batch and the outputs of
the forward pass are those of :mod:`assent.algorithms.batch`.  What the loop does with one, per optimiser batch::

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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from assent.algorithms.batch import Batch, Outputs
from assent.config import Settings

State = Mapping[str, Any]
"""Plain data that an algorithm carries from batch to batch (an adaptive KL coefficient); the loop checkpoints it."""

Figures = Mapping[str, float]


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


@dataclass(frozen=True)
class Algorithm:
    """One training algorithm.  Adding one is one file with one such record, and one line in the table."""

    name: str
    summary: str
    Settings: type[Settings]
    data: frozenset[str]
    """What it learns from: of {"text", "demonstrations", "comparisons", "judgements", "rollouts"}."""
    needs: frozenset[str]
    """Columns that the loop or the source gives it, without gradient, before ``prepare``."""
    outputs: frozenset[str]
    """Fields of :class:`~assent.algorithms.batch.Outputs` that its loss reads."""
    prepare: Callable[[Batch, Any, State], tuple[Batch, State, Figures]]
    """Once per optimiser batch or batch of rollouts: advantages, pairs, controllers; also the figures it wants logged.
    The batch that it returns is the one trained on: it may add pairs and columns, and leave rows out."""
    weights: Callable[[Batch, Any], Mapping[str, Part]]
    loss: Callable[[Outputs, Batch, Any], Loss]
    initial_state: Callable[[Any], State] = lambda settings: {}
    enough: Callable[[Figures, Any], bool] = lambda figures, settings: False
    """After each update, from its metrics: whether the remaining updates on this batch are left out."""


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


def sequence_sum(mask: Tensor) -> Part:
    """The sum over each row's real tokens, and the mean of that over rows.  ``mask`` [B, T]."""
    weights = mask.float()
    return Part(weights, weights.new_tensor(float(mask.shape[0])))


def masked_mean(values: Tensor, mask: Tensor) -> Mean:
    """``values`` averaged where ``mask`` is true (or by its weight); both of one shape, detached."""
    weights = mask.to(values.dtype)
    return Mean((values.detach() * weights).sum(), weights.sum())
