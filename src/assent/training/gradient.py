"""The gradient of one optimiser batch, microbatch by microbatch, under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from assent.algorithms.base import Algorithm, Mean
from assent.algorithms.batch import Batch, Outputs
from assent.data.microbatch import plan_microbatches
from assent.training.distributed import rank, row_shares
from assent.training.reduce import reduce_loss
from assent.training.roles import Roles
from assent.training.sharding import is_sharded, sum_gradients_at_next

Fail = Callable[[str, list[Batch]], NoReturn]
Sums = dict[str, Mean]


def microbatch_rows(batch: Batch, token_budget: int, packed: bool, whole_groups: bool | None = None) -> list[Tensor]:
    """Row indices of each microbatch; the rows of a group stay together where there are pairs.

    ``packed``: rows are laid behind one another, so that the budget counts their tokens and no padding.
    """
    lengths, groups = batch.mask.sum(1).tolist(), batch.groups.tolist()
    together = len(batch.pairs) > 0 if whole_groups is None else whole_groups
    device = batch.tokens.device
    plan = plan_microbatches(lengths, groups if together else None, token_budget, device.type, packed)
    return [torch.tensor(rows, device=device) for rows in plan]


@dataclass(frozen=True)
class _Pass:
    """One forward and backward pass."""

    batch: Batch
    roots: Callable[[Outputs], tuple[list[Tensor], list[Tensor | None]]]
    """Of its outputs: what to go back from, and the gradients there (``None``: 1)."""


def accumulate(
    algorithm: Algorithm,
    settings: Any,
    coefficient: float,
    roles: Roles,
    batch: Batch,
    token_budget: int,
    fail: Fail,
) -> Sums:
    """Add the gradient of this process's share of the batch to the trained parameters', and return the sums of the
    algorithm's figures over it; the denominators are the whole batch's.

    A group over the budget is scored first without gradient; then d loss / d outputs goes back through pieces of budget
    size.  That is exact, since dropout is off and the loss reaches the parameters through its outputs alone; it costs a
    second forward pass.  ``fail`` is called with a sentence and the microbatch where the loss is not finite.
    """
    counts = {name: part.count for name, part in algorithm.weights(batch, settings).items()}
    sums: Sums = {}

    def loss_of(outputs: Outputs, micro: Batch) -> Tensor:
        loss = algorithm.loss(outputs, micro, settings)
        total = coefficient * reduce_loss(loss.terms, loss.coefficients, algorithm.weights(micro, settings), counts)
        if not bool(torch.isfinite(total)):
            fail(f"the loss is {total.item()}", [micro])
        add_means(sums, loss.metrics)
        return total

    plans = [_plan(batch.select(rows), token_budget, roles.unpadded) for rows in row_shares(batch)]
    passes: list[_Pass] = []
    for micro, pieces in plans[rank()]:
        if len(pieces) == 1:
            passes.append(_Pass(micro, lambda outputs, micro=micro: ([loss_of(outputs, micro)], [None])))
        else:
            passes += _in_two_passes(roles, micro, pieces, algorithm.outputs, loss_of)
    together = is_sharded(roles)
    if together:
        scored = [sum(len(pieces) for _, pieces in plan if len(pieces) > 1) for plan in plans]
        with torch.no_grad():
            for _ in range(max(scored) - scored[rank()]):
                roles.forward(idle(batch), algorithm.outputs)
        most = max(sum(len(pieces) for _, pieces in plan) for plan in plans)
        passes += [_Pass(idle(batch), lambda outputs: ([], []))] * (most - len(passes))
    for number, each in enumerate(passes, 1):
        sum_gradients_at_next(roles, number == len(passes))
        outputs = roles.forward(each.batch, algorithm.outputs)
        tensors, grads = each.roots(outputs)
        if together:  # every process goes back through every model, whatever its own loss reaches
            reached = [getattr(outputs, name) for name in sorted(algorithm.outputs)]
            tensors, grads = [*tensors, *reached], [*grads, *map(torch.zeros_like, reached)]
        reaching = [(tensor, grad) for tensor, grad in zip(tensors, grads, strict=True) if tensor.requires_grad]
        if reaching:
            torch.autograd.backward([tensor for tensor, _ in reaching], [grad for _, grad in reaching])
    return sums


def _plan(share: Batch, token_budget: int, unpadded: bool) -> list[tuple[Batch, list[Tensor]]]:
    """The microbatches of a share, each with the rows of its pieces: one piece where it is within the budget."""
    plan: list[tuple[Batch, list[Tensor]]] = []
    for rows in microbatch_rows(share, token_budget, unpadded):
        micro = share.select(rows)
        size = int(micro.mask.sum()) if unpadded else micro.tokens.numel()
        if size <= token_budget or micro.rows == 1:
            plan.append((micro, [torch.arange(micro.rows)]))
        else:
            plan.append((micro, microbatch_rows(micro, token_budget, unpadded, whole_groups=False)))
    return plan


def idle(batch: Batch) -> Batch:
    """The least that a process without rows can put through models which all must run: the shortest row."""
    return batch.select(batch.mask.sum(1).argmin()[None])


def add_means(sums: Sums, more: Mapping[str, Mean]) -> None:
    """Add figures to the sums so far."""
    for name, mean in more.items():
        before = sums.get(name)
        sums[name] = mean if before is None else Mean(before.total + mean.total, before.count + mean.count)


def _in_two_passes(
    roles: Roles,
    micro: Batch,
    pieces: Sequence[Tensor],
    wanted: frozenset[str],
    loss_of: Callable[[Outputs, Batch], Tensor],
) -> list[_Pass]:
    """The outputs of a group without gradient, and the passes that take the loss's gradient back from them."""
    batches = [micro.select(rows) for rows in pieces]
    joined: dict[str, Tensor] = {}
    with torch.no_grad():
        for rows, piece in zip(pieces, batches, strict=True):
            outputs = roles.forward(piece, wanted)
            for name in wanted:
                part: Tensor = getattr(outputs, name)
                width = part.shape[1] if name == "scores" else micro.tokens.shape[1]
                whole = joined.setdefault(name, part.new_zeros(micro.rows, width))
                whole[rows, : part.shape[1]] = part
    leaves = {name: whole.requires_grad_() for name, whole in joined.items()}
    none = torch.zeros(0, device=micro.tokens.device)
    total = loss_of(replace(Outputs(none, none, none, none), **leaves), micro)
    if total.requires_grad:  # not where no term of this group reaches a parameter
        total.backward()
    there = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    def back_from(rows: Tensor) -> Callable[[Outputs], tuple[list[Tensor], list[Tensor | None]]]:
        def roots(outputs: Outputs) -> tuple[list[Tensor], list[Tensor | None]]:
            parts: list[Tensor] = [getattr(outputs, name) for name in there]
            return parts, [grad[rows][:, : part.shape[1]] for part, grad in zip(parts, there.values(), strict=True)]

        return roots

    return [_Pass(piece, back_from(rows)) for rows, piece in zip(pieces, batches, strict=True)]
