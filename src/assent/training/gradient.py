"""The gradient of one optimiser batch, microbatch by microbatch, under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from assent.algorithms.base import Algorithm, Mean, Part
from assent.algorithms.batch import Batch, Outputs
from assent.data.microbatch import plan_microbatches
from assent.training.reduce import reduce_loss
from assent.training.roles import Roles

Fail = Callable[[str, list[Batch]], NoReturn]
Sums = dict[str, Mean]


def microbatch_rows(batch: Batch, token_budget: int, packed: bool, whole_groups: bool | None = None) -> list[Tensor]:
    """Row indices of each microbatch; the rows of a group stay together where there are pairs.

    ``packed``: rows are laid behind one another, so that the budget counts their tokens and no padding.
    """
    lengths, groups = batch.mask.sum(1).tolist(), batch.groups.tolist()
    together = len(batch.pairs) > 0 if whole_groups is None else whole_groups
    plan = plan_microbatches(lengths, groups if together else None, token_budget, packed=packed)
    return [torch.tensor(rows, device=batch.tokens.device) for rows in plan]


def accumulate(
    algorithm: Algorithm,
    settings: Any,
    coefficient: float,
    roles: Roles,
    batch: Batch,
    token_budget: int,
    fail: Fail,
) -> Sums:
    """Add the batch's gradient to the trained parameters', and return the sums of the algorithm's figures.

    ``fail`` is called with a sentence and the microbatch where the loss is not finite.
    """
    counts = {name: part.count for name, part in algorithm.weights(batch, settings).items()}
    sums: Sums = {}
    unpadded = roles.unpadded
    for rows in microbatch_rows(batch, token_budget, unpadded):
        micro = batch.select(rows)
        parts = algorithm.weights(micro, settings)

        def backward(outputs: Outputs, micro: Batch = micro, parts: Mapping[str, Part] = parts) -> None:
            loss = algorithm.loss(outputs, micro, settings)
            total = coefficient * reduce_loss(loss.terms, loss.coefficients, parts, counts)
            if not bool(torch.isfinite(total)):
                fail(f"the loss is {total.item()}", [micro])
            if total.requires_grad:  # not where no term of this microbatch reaches a parameter
                total.backward()
            add_means(sums, loss.metrics)

        size = int(micro.mask.sum()) if unpadded else micro.tokens.numel()
        if size <= token_budget or micro.rows == 1:
            backward(roles.forward(micro, algorithm.outputs))
        else:
            _in_two_passes(roles, micro, algorithm.outputs, token_budget, backward)
    return sums


def add_means(sums: Sums, more: Mapping[str, Mean]) -> None:
    """Add figures to the sums so far."""
    for name, mean in more.items():
        before = sums.get(name)
        sums[name] = mean if before is None else Mean(before.total + mean.total, before.count + mean.count)


def _in_two_passes(
    roles: Roles, micro: Batch, wanted: frozenset[str], token_budget: int, backward: Callable[[Outputs], None]
) -> None:
    """A group over the budget: outputs first without gradient, then d loss / d outputs through pieces of budget size.

    Exact, since dropout is off and the loss reaches the parameters through its outputs alone; it costs a second
    forward pass.
    """
    apart = microbatch_rows(micro, token_budget, roles.unpadded, whole_groups=False)
    pieces = [(rows, micro.select(rows)) for rows in apart]
    joined: dict[str, Tensor] = {}
    with torch.no_grad():
        for rows, piece in pieces:
            outputs = roles.forward(piece, wanted)
            for name in wanted:
                part: Tensor = getattr(outputs, name)
                width = part.shape[1] if name == "scores" else micro.tokens.shape[1]
                whole = joined.setdefault(name, part.new_zeros(micro.rows, width))
                whole[rows, : part.shape[1]] = part
    leaves = {name: whole.requires_grad_() for name, whole in joined.items()}
    none = torch.zeros(0, device=micro.tokens.device)
    backward(replace(Outputs(none, none, none, none), **leaves))
    for rows, piece in pieces:
        outputs = roles.forward(piece, wanted)
        parts = [getattr(outputs, name) for name in leaves if leaves[name].grad is not None]
        grads = [g[rows] for g in (leaf.grad for leaf in leaves.values()) if g is not None]
        trimmed = [grad[:, : part.shape[1]] for part, grad in zip(parts, grads, strict=True)]
        if parts:
            torch.autograd.backward(parts, trimmed)
