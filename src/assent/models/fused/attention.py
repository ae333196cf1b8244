"""Causal self-attention over packed rows, forward and backward, a block of queries at a time.

Scores are float32 whatever the precision of the model's products: at the lengths that fit on a CPU they cost little,
and a score rounded to bfloat16 would move a probability by a percent.  The backward pass computes the probabilities P
again (Dao et al. 2022, arXiv:2205.14135, without the tiling that a GPU's memory asks for):

    dV = P^T dO        dS = P * (dP - rowsum(P * dP)), dP = dO V^T        dQ = c dS K        dK = c dS^T Q
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assent.models.fused.kernels import (
    causal_softmax_,
    gather_heads,
    rotate_,
    scatter_heads_,
    softmax_backward_,
)
from assent.models.fused.rows import QUERIES, RowGroup


@dataclass(frozen=True)
class AttentionShape:
    """H query heads and Hkv key-value heads of D, and the scale of the scores."""

    heads: int
    kv_heads: int
    head_dim: int
    scale: float

    @property
    def group(self) -> int:
        """Query heads of one key-value head."""
        return self.heads // self.kv_heads


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, turns: Tensor | None, groups: Sequence[RowGroup], shape: AttentionShape
    ) -> Tensor:
        states = qkv.view(len(qkv), -1, shape.head_dim)
        states = states.float() if qkv.dtype == torch.bfloat16 else states.clone()
        if turns is not None:
            rotate_(states, turns, shape.heads + shape.kv_heads, inverse=False)
        out = qkv.new_empty(len(qkv), shape.heads * shape.head_dim)
        for group in groups:
            query, keys, values = _of_group(states, group, shape)
            attended = torch.empty_like(query)
            for begin, end in _blocks(query.shape[1]):
                p = _probabilities(query, keys, begin, end, shape.scale)
                attended[:, begin:end] = torch.bmm(p, values[:, :end])
            rows = attended.view(shape.heads, -1, shape.head_dim)[:, group.owned].transpose(0, 1).flatten(1)
            out[group.places[group.owned]] = rows.to(out.dtype)
        ctx.save_for_backward(states, turns)
        ctx.groups, ctx.shape, ctx.dtype = groups, shape, qkv.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, turns = ctx.saved_tensors
        shape: AttentionShape = ctx.shape
        grad_states = torch.zeros_like(states)
        for group in ctx.groups:
            scatter_heads_(grad_states, _group_grad(states, grads[0], group, shape), group.places, group.real)
        if turns is not None:
            rotate_(grad_states, turns, shape.heads + shape.kv_heads, inverse=True)
        return grad_states.view(len(states), -1).to(ctx.dtype), None, None, None


def attention(qkv: Tensor, turns: Tensor | None, groups: Sequence[RowGroup], shape: AttentionShape) -> Tensor:
    """[N, H D] of packed ``qkv`` [N, (H + 2 Hkv) D]: queries, keys, values, heads one after another.

    ``turns`` [N, 2, R / 2] are cosines and sines of rotary positions, which queries and keys are turned by first.
    """
    return _Attention.apply(qkv, turns, groups, shape)  # pyright: ignore[reportReturnType]


def _of_group(states: Tensor, group: RowGroup, shape: AttentionShape) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [H b, T, D] of a group's rows; a key-value head is repeated for its query heads."""
    rows = gather_heads(states, group.places).unflatten(1, (group.count, -1))
    parts = rows.split([shape.heads, shape.kv_heads, shape.kv_heads])
    query, keys, values = (
        part if part is parts[0] or shape.group == 1 else part.repeat_interleave(shape.group, 0) for part in parts
    )
    return query.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)


def _blocks(width: int) -> list[tuple[int, int]]:
    return [(begin, min(width, begin + QUERIES)) for begin in range(0, width, QUERIES)]


def _probabilities(query: Tensor, keys: Tensor, begin: int, end: int, scale: float) -> Tensor:
    """P [H b, end - begin, end] of the queries from ``begin`` to ``end``."""
    scores = torch.bmm(query[:, begin:end], keys[:, :end].transpose(1, 2))
    return causal_softmax_(scores, scale, begin)


def _group_grad(states: Tensor, grad_out: Tensor, group: RowGroup, shape: AttentionShape) -> Tensor:
    """The gradient [H + 2 Hkv, b T, D] of a group's rows, from that of the packed output [N, H D]."""
    query, keys, values = _of_group(states, group, shape)
    grad = states.new_zeros(shape.heads, group.count * query.shape[1], shape.head_dim)
    owned = grad_out[group.places[group.owned]].to(grad.dtype)
    grad[:, group.owned] = owned.view(-1, shape.heads, shape.head_dim).transpose(0, 1)
    grad = grad.view(query.shape)
    grads = torch.empty((3, *query.shape), dtype=query.dtype)
    grad_query, grad_keys, grad_values = grads
    for begin, end in _blocks(query.shape[1]):
        p, part = _probabilities(query, keys, begin, end, shape.scale), grad[:, begin:end]
        _add_product(grad_values, p, part, begin, end)
        grad_scores = softmax_backward_(torch.bmm(part, values[:, :end].transpose(1, 2)), p, shape.scale)
        grad_query[:, begin:end] = torch.bmm(grad_scores, keys[:, :end])
        _add_product(grad_keys, grad_scores, query[:, begin:end], begin, end)
    if shape.group == 1:
        return grads.view(3 * shape.heads, -1, shape.head_dim)
    parts = list(grads.view(3, shape.heads, -1, shape.head_dim))
    parts[1:] = [part.unflatten(0, (shape.kv_heads, shape.group)).sum(1) for part in parts[1:]]
    return torch.cat(parts)


def _add_product(total: Tensor, left: Tensor, right: Tensor, begin: int, end: int) -> None:
    """Add left^T right [., end, D] to ``total``, of which nothing from ``begin`` on has been written yet."""
    product = torch.bmm(left.transpose(1, 2), right)
    total[:, :begin] += product[:, :begin]
    total[:, begin:end] = product[:, begin:]
