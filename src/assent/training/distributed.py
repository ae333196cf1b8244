"""Several processes that train as one, on PyTorch's process groups.  In one process nothing here communicates.

Every process makes the same batch, takes its share of the rows, and adds its sums to the others'.  What is not a sum is
computed by all alike, or by the first alone and told to the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from itertools import groupby
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from assent.algorithms.base import Mean
from assent.algorithms.batch import Batch
from assent.errors import RunError

T = TypeVar("T")

_PATIENCE = timedelta(days=14)
"""How long a process waits for another: one may be asking a slow judge meanwhile.  Sockets take at most 24 days."""
_BUCKET = 1 << 24
"""Numbers that are summed over the processes at once."""


@cache
def launcher_store() -> Any:
    """The key-value store (``torch.distributed.Store``) that the launcher's processes share.

    Needs the environment that ``torchrun`` sets: ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``.
    """
    return next(rendezvous("env://", timeout=_PATIENCE))[0]


def join() -> None:
    """Become one of the launcher's processes; again, or in a process without a launcher, does nothing."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        timeout=_PATIENCE,
    )


def leave() -> None:
    """Break off what the others may still be waiting for: they see an error, and not silence."""
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that writes files, asks others and speaks to the user."""
    return rank() == 0


# --- what all come to know -------------------------------------------------------------------------------------------


def gather(value: T) -> list[T]:
    """Everyone's value (anything that pickles), in the order of the ranks."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value)
    return found


def broadcast(value: T) -> T:
    """The first process's value."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def barrier() -> None:
    """Until all are here."""
    gather(None)


def any_of(flag: bool) -> bool:
    """Whether it is true in any of the processes."""
    if size() == 1:
        return flag
    found = torch.tensor(int(flag))
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def all_sum(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def sum_means(sums: Mapping[str, Mean], device: torch.device) -> dict[str, Mean]:
    """Figures of the shares as figures of the whole; a process without rows has none to add."""
    if size() == 1:
        return dict(sums)
    told = gather({name: (float(mean.total), float(mean.count)) for name, mean in sums.items()})
    names = dict.fromkeys(name for each in told for name in each)
    totals = {name: [sum(each[name][i] for each in told if name in each) for i in (0, 1)] for name in names}
    return {name: Mean(*(torch.tensor(x, device=device) for x in pair)) for name, pair in totals.items()}


# --- who does what ---------------------------------------------------------------------------------------------------


def shares(sizes: Sequence[int], groups: Sequence[int], ranks: int) -> list[list[int]]:
    """The rows of each process: whole groups, the largest first, each to the one that has the least so far.

    ``sizes`` are the tokens of the rows.  A function of its arguments alone, so that all know everyone's share.
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    weight = {group: sum(sizes[row] for row in rows) for group, rows in members.items()}
    loads, out = [0] * ranks, [list[int]() for _ in range(ranks)]
    for group in sorted(members, key=lambda group: (-weight[group], members[group][0])):
        least = loads.index(min(loads))
        loads[least] += weight[group]
        out[least] += members[group]
    return [sorted(rows) for rows in out]


def row_shares(batch: Batch) -> list[Tensor]:
    """The rows [b] of ``batch`` that each process takes; some may have none."""
    if size() == 1:
        return [torch.arange(batch.rows, device=batch.tokens.device)]
    split = shares(batch.mask.sum(1).tolist(), batch.groups.tolist(), size())
    return [torch.tensor(rows, dtype=torch.long, device=batch.tokens.device) for rows in split]


# --- gradients and weights -------------------------------------------------------------------------------------------


def sum_gradients(modules: Iterable[nn.Module]) -> None:
    """Add up the gradients of the processes, once an update, in flat buckets.

    A gradient that no process has stays away, as it does in one process: the optimiser leaves such a weight alone.
    Sharded weights are left out, since their gradients are summed as they are made.
    """
    trained = [p for module in modules for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    if size() == 1 or not trained:
        return
    there = torch.tensor([int(p.grad is not None) for p in trained])
    dist.all_reduce(there, dist.ReduceOp.MAX)
    wanted = [p for p, has in zip(trained, there.tolist(), strict=True) if has]
    for bucket in _buckets(wanted):
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in bucket])
        dist.all_reduce(flat)
        for p, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            p.grad = part.view_as(p)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    for _, alike in groupby(parameters, key=lambda p: (p.dtype, p.device)):
        bucket: list[nn.Parameter] = []
        for parameter in alike:
            if bucket and sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(parameter)
        yield bucket


@torch.no_grad()
def check_equal(modules: Mapping[str, nn.Module]) -> None:
    """Raise :class:`RunError` where the weights, which all processes hold and update alike, are not equal."""
    if size() == 1:
        return
    for name, module in modules.items():
        own = [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
        if not own:
            continue
        sums = torch.stack([p.double().sum().cpu() for p in own])
        least, most = sums.clone(), sums.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        if not torch.equal(least, most):
            raise RunError(
                f"the processes hold different weights of the {name}, so that what they train is not one model; "
                "train in one process, and report it"
            )
