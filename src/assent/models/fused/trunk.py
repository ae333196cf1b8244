"""A causal trunk as a plain description of its blocks, and its forward pass over packed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from assent.models.fused.attention import AttentionShape, attention
from assent.models.fused.functions import Linear, Norm, add_and_norm, gated, linear, take
from assent.models.fused.rows import PackedRows, pack_rows


@dataclass(frozen=True)
class Block:
    """One block.  ``qkv`` gives queries, keys and values, heads one after another."""

    attention_norm: Norm
    qkv: Linear
    out: Linear
    mlp_norm: Norm
    up: Linear
    """Gate and up-projection side by side where ``activation`` is ``None`` (SwiGLU)."""
    down: Linear
    shape: AttentionShape
    activation: Callable[[Tensor], Tensor] | None = None
    parallel: bool = False
    """Attention and MLP both read the block's input (GPT-NeoX)."""
    head_norms: tuple[Norm, Norm] | None = None
    """RMS norms of each head's query and key, before the rotation (Qwen 3)."""
    order: Callable[[Tensor], Tensor] | None = None
    """Brings the output of ``qkv`` into the order of queries, keys, values (GPT-NeoX keeps them head by head)."""


@dataclass(frozen=True)
class Trunk:
    """A model without its head."""

    embedding: nn.Embedding
    """[V, D]; its padding token's row gets no gradient from here, as in the model's own pass."""
    positions: nn.Embedding | None
    """[T, D] learned positions, or ``None``."""
    blocks: Sequence[Block]
    norm: Norm
    turns: Callable[[int], Tensor] | None
    """Cosines and sines [T, 2, R / 2] of the first T rotary positions, or ``None``."""

    def states(self, tokens: Tensor, mask: Tensor, recompute: bool = False) -> Tensor:
        """Last hidden states [B, T, D] of right-padded ``tokens`` [B, T], real where ``mask`` [B, T] is true.

        ``recompute``: blocks run again in the backward pass instead of keeping what it reads.
        """
        rows = pack_rows(tokens, mask)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.embedding.weight.dtype
        with torch.autocast("cpu", enabled=False):
            return take(self._packed(rows, dtype, recompute and torch.is_grad_enabled()), rows.places)

    def _packed(self, rows: PackedRows, dtype: torch.dtype, recompute: bool) -> Tensor:
        states = self.embedding(rows.tokens)
        if self.positions is not None:
            states = states + self.positions(rows.positions)
        turns = None
        if self.turns is not None:
            turns = (
                self.turns(int(rows.positions.max()) + 1)[rows.positions].to(self.embedding.weight.dtype).contiguous()
            )
        delta: Tensor | None = None
        for block in self.blocks:
            if recompute:
                states, delta = checkpoint(_run, block, states, delta, turns, rows, dtype, use_reentrant=False)  # pyright: ignore[reportGeneralTypeIssues]
            else:
                states, delta = _run(block, states, delta, turns, rows, dtype)
        return add_and_norm(states, delta, self.norm, dtype)[1]


def _run(
    block: Block, states: Tensor, delta: Tensor | None, turns: Tensor | None, rows: PackedRows, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The residual stream [N, D], and what this block still has to add to it."""
    states, normed = add_and_norm(states, delta, block.attention_norm, dtype)
    qkv = linear(normed, block.qkv)
    if block.order is not None:
        qkv = block.order(qkv)
    if block.head_norms is not None:
        qkv = _norm_heads(qkv, block.head_norms, block.shape)
    attended = linear(attention(qkv, turns, rows, block.shape), block.out)
    if block.parallel:
        normed = add_and_norm(states, None, block.mlp_norm, dtype)[1]
        return states, _mlp(normed, block) + attended
    states, normed = add_and_norm(states, attended, block.mlp_norm, dtype)
    return states, _mlp(normed, block)


def _mlp(normed: Tensor, block: Block) -> Tensor:
    up = linear(normed, block.up)
    return gated(up, block.down) if block.activation is None else linear(block.activation(up), block.down)


def _norm_heads(qkv: Tensor, norms: tuple[Norm, Norm], shape: AttentionShape) -> Tensor:
    heads = qkv.view(len(qkv), -1, shape.head_dim)
    parts = heads.split([shape.heads, shape.kv_heads, shape.kv_heads], 1)
    normed = [
        F.rms_norm(part.to(norm.weight.dtype), part.shape[-1:], norm.weight, norm.eps).to(qkv.dtype)
        for part, norm in zip(parts, norms, strict=False)
    ]
    return torch.cat([*normed, parts[2]], 1).flatten(1)
