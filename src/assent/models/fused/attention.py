"""Causal self-attention over packed rows: compiled (``attention.h``) for float32 and bfloat16, else by PyTorch.

Scores are float32 whatever the precision of the model's products: at the lengths that fit on a CPU they cost little,
and a score rounded to bfloat16 would move a probability by a percent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assent.models.fused.kernels import compiled_for, run
from assent.models.fused.rows import PackedRows


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


def attention(qkv: Tensor, turns: Tensor | None, rows: PackedRows, shape: AttentionShape) -> Tensor:
    """[N, H D] of packed ``qkv`` [N, (H + 2 Hkv) D]: queries, keys, values, heads one after another.

    ``turns`` [N, 2, R / 2] are cosines and sines of rotary positions, which queries and keys are turned by first.
    """
    if compiled_for(qkv):
        return _Attention.apply(qkv, turns, rows, shape)  # pyright: ignore[reportReturnType]
    return _row_by_row(qkv, turns, rows, shape)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turns: Tensor | None, rows: PackedRows, shape: AttentionShape) -> Tensor:
        out = qkv.new_empty(len(qkv), shape.heads * shape.head_dim)
        run("attention", *_described(turns, rows, shape), qkv, out, dtype=qkv.dtype)
        ctx.save_for_backward(qkv, turns)
        ctx.rows, ctx.shape = rows, shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv, turns = ctx.saved_tensors
        grad, described = torch.empty_like(qkv), _described(turns, ctx.rows, ctx.shape)
        run("attention_backward", len(qkv), *described, qkv, grads[0].contiguous(), grad, dtype=qkv.dtype)
        return grad, None, None, None


def _described(turns: Tensor | None, rows: PackedRows, shape: AttentionShape) -> tuple[Tensor | float | None, ...]:
    half = 0 if turns is None else turns.shape[2]
    packed = (len(rows.clusters) - 1, rows.clusters, rows.starts, rows.paths, rows.shared)
    return *packed, shape.heads, shape.kv_heads, shape.head_dim, half, shape.scale, turns


def _row_by_row(qkv: Tensor, turns: Tensor | None, rows: PackedRows, shape: AttentionShape) -> Tensor:
    states = qkv.view(len(qkv), -1, shape.head_dim)
    states = states.float() if qkv.dtype == torch.bfloat16 else states
    query, keys, values = states.split([shape.heads, shape.kv_heads, shape.kv_heads], 1)
    if turns is not None:
        query, keys = _turned(query, turns), _turned(keys, turns)
    keys, values = (part.repeat_interleave(shape.group, 1) for part in (keys, values))
    found: list[Tensor] = []
    for start, end, shared in zip(
        rows.starts[:-1].tolist(), rows.starts[1:].tolist(), rows.shared.tolist(), strict=True
    ):
        path = rows.paths[start:end]
        q, k, v = query[path[shared:]], keys[path], values[path]
        unseen = torch.ones(len(q), len(k), dtype=torch.bool).triu(shared + 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * shape.scale
        p = torch.softmax(scores.masked_fill(unseen, -torch.inf), -1)
        found.append(torch.einsum("hqk,khd->qhd", p, v).flatten(1))
    return torch.cat(found).to(qkv.dtype)  # rows own packed tokens in their order


def _turned(states: Tensor, turns: Tensor) -> Tensor:
    """Coordinates i and i + R / 2 of each head, turned; the others as they are."""
    half = turns.shape[2]
    cos, sin = turns[:, 0, None], turns[:, 1, None]
    a, b, rest = states.split([half, half, states.shape[2] - 2 * half], 2)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], 2)
