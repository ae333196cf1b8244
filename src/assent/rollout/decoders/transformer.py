"""A decoder with a static key-value cache: the forward pass that all families of :mod:`assent.rollout.decoders` share.

On a CPU in float32 each row's numbers are the same, bit for bit, whatever else is in the batch: matrix products of four
rows or more, and batched products over a number of columns that is a multiple of four and not too small, add each
output up in an order that depends on neither the number of rows or columns nor their place.  (The work of
``scaled_dot_product_attention`` is shared out among threads, and its rounding with it.)  So rows, columns and the
tokens of a prefill come in multiples of :data:`LANES`.  On a GPU all this holds up to rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 8
"""Numbers of rows and columns are multiples of this."""
_SHORTEST = 2 * LANES
"""Tokens of the narrowest prefill."""
_PRODUCT = 400
"""Batched products with fewer multiplications than this for each row and head take another kernel, with another order
of summation; the columns that a step attends to are never so few."""
_SCORES = 1 << 24
"""Attention scores that a prefill may hold at once, for each layer."""
_LONG = 2048
"""Prompts beyond this are attended by a kernel that never holds their scores: equal up to rounding only."""

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """One block.  ``qkv`` maps [N, d] to [N, (H + 2 Hkv) D]: queries, keys and values, heads one after another.

    With rotary positions, the coordinates that turn together lie side by side in the queries and keys: a permutation of
    both that no product of theirs sees.
    """

    attention_norm: Function
    qkv: Function
    out: Function
    mlp_norm: Function
    mlp: Function
    scale: float
    """Of the scores, usually D^-1/2."""
    parallel: bool = False
    """Attention and MLP both read the block's input (GPT-NeoX)."""
    head_norm: Function | None = None
    """Of queries and keys [N, H + Hkv, D], before the rotation (Qwen 3)."""


@dataclass(frozen=True)
class Weights:
    """A model, as the decoder runs it."""

    embed: Callable[[Tensor, Tensor], Tensor]
    """States [N, d] of tokens [N] at positions [N]."""
    layers: Sequence[Layer]
    head: Function
    """Logits [N, V] of states [N, d], the final norm included."""
    heads: int
    kv_heads: int
    head_dim: int
    rotary: Callable[[int], Tensor] | None
    """cos + i sin [T, 1, D / 2] of the first T positions; ``None`` where ``embed`` adds the positions."""
    device: torch.device
    dtype: torch.dtype


class Decoder:
    """Decodes ``slots`` rows of up to ``length`` tokens with weights as they are now."""

    def __init__(self, weights: Weights, slots: int, length: int) -> None:
        self.w = weights
        self.narrowest = lanes(-(-_PRODUCT // weights.head_dim))
        length = max(lanes(length), self.narrowest, _SHORTEST)
        self.cache = torch.zeros(
            (len(weights.layers), 2, slots, weights.kv_heads, length, weights.head_dim),
            dtype=weights.dtype,
            device=weights.device,
        )
        """Keys and values; zeros, since what was never written is masked, and masked infinities would be NaN."""
        self.turns = weights.rotary(length) if weights.rotary else None
        self.columns = torch.arange(length, device=weights.device)

    def step(self, tokens: Tensor, positions: Tensor, width: int) -> Tensor:
        """Logits [N, V] after tokens [N] at ``positions`` [N] of the first N slots, all of them below ``width``."""
        w, n, width = self.w, len(tokens), max(lanes(width), self.narrowest)
        group = w.heads // w.kv_heads
        seen = self.columns[:width] <= positions[:, None]
        mask = torch.zeros(seen.shape, dtype=w.dtype, device=w.device).masked_fill_(~seen, -torch.inf)
        mask = mask[:, None, None].expand(n, w.kv_heads, group, width).reshape(n * w.kv_heads, group, width)
        slots = torch.arange(n, device=w.device)
        turns = None if self.turns is None else self.turns[positions]

        def attend(index: int, layer: Layer, qkv: Tensor) -> Tensor:
            cache = self.cache[index]
            cache[:, slots, :, positions] = qkv[:, w.heads :].view(n, 2, w.kv_heads, w.head_dim)
            query = qkv[:, : w.heads].reshape(n * w.kv_heads, group, w.head_dim)
            keys, values = cache[:, :n, :, :width].reshape(2, n * w.kv_heads, width, w.head_dim)
            return _attention(query, keys, values, mask, layer.scale).view(n, w.heads * w.head_dim)

        return w.head(self._states(w.embed(tokens, positions), turns, attend))

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Keys and values [layers, 2, Hkv, t, D] of each prompt; padded on the right, which no real token sees."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: dict[int, Tensor] = {}
        while order:
            width = max(lanes(len(prompts[order[-1]])), _SHORTEST)
            chosen = order[-max(1, _SCORES // (self.w.heads * width * width)) :]
            del order[-len(chosen) :]
            both = self._prefill([prompts[i] for i in chosen], width)
            for place, i in enumerate(chosen):
                found[i] = both[:, :, place, :, : len(prompts[i])]
        return [found[i] for i in range(len(prompts))]

    def place(self, prompt: Tensor, slots: Tensor) -> None:
        """Put a prompt's keys and values, from :meth:`prefill`, into ``slots`` [K]."""
        self.cache[:, :, slots, :, : prompt.shape[3]] = prompt[:, :, None]

    def move(self, source: Tensor, target: Tensor, width: int) -> None:
        """Copy the first ``width`` places of slots ``source`` [K] to slots ``target`` [K]."""
        self.cache[:, :, target, :, :width] = self.cache[:, :, source, :, :width]

    def _prefill(self, prompts: list[tuple[int, ...]], width: int) -> Tensor:
        w, count = self.w, len(prompts)
        group = w.heads // w.kv_heads
        tokens = torch.tensor([p + (0,) * (width - len(p)) for p in prompts], device=w.device)
        positions = torch.arange(width, device=w.device).clamp(max=len(prompts[-1]) - 1)
        turns = None if self.turns is None else self.turns[positions].repeat(count, 1, 1)
        causal = torch.full((width, width), -torch.inf, dtype=w.dtype, device=w.device).triu(1).repeat(group, 1)
        shape = (len(w.layers), 2, count, w.kv_heads, width, w.head_dim)
        both = torch.empty(shape, dtype=w.dtype, device=w.device)

        def attend(index: int, layer: Layer, qkv: Tensor) -> Tensor:
            qkv = qkv.view(count, width, -1, w.head_dim).transpose(1, 2)
            query = qkv[:, : w.heads]
            both[index] = qkv[:, w.heads :].reshape(count, 2, w.kv_heads, width, w.head_dim).transpose(0, 1)
            if width > _LONG:
                keys, values = both[index]
                out = F.scaled_dot_product_attention(
                    query, keys, values, is_causal=True, scale=layer.scale, enable_gqa=group > 1
                )
            else:
                query = query.reshape(count * w.kv_heads, group * width, w.head_dim)
                keys, values = both[index].view(2, count * w.kv_heads, width, w.head_dim)
                out = _attention(query, keys, values, causal, layer.scale).view(count, w.heads, width, w.head_dim)
            return out.transpose(1, 2).reshape(count * width, w.heads * w.head_dim)

        # Padding stands at the last real position: GPT-2 has no other beyond its context.
        self._states(w.embed(tokens.flatten(), positions.repeat(count)), turns, attend)
        return both

    def _states(self, states: Tensor, turns: Tensor | None, attend: Callable[[int, Layer, Tensor], Tensor]) -> Tensor:
        """The last block's states [N, d]; ``attend(index, layer, qkv [N, H + 2 Hkv, D])`` gives [N, H D]."""
        w = self.w
        for index, layer in enumerate(w.layers):
            qkv = layer.qkv(layer.attention_norm(states)).view(len(states), -1, w.head_dim)
            rotated = qkv[:, : w.heads + w.kv_heads]
            if layer.head_norm is not None:
                rotated.copy_(layer.head_norm(rotated))
            if turns is not None:
                _rotate(rotated, turns)
            attended = layer.out(attend(index, layer, qkv))
            if layer.parallel:
                states = layer.mlp(layer.mlp_norm(states)) + attended + states
            else:
                states = states + attended
                states = states + layer.mlp(layer.mlp_norm(states))
        return states


def lanes(count: int) -> int:
    """The next multiple of :data:`LANES`."""
    return -(-count // LANES) * LANES


def _attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of queries [B, Q, D] over keys and values [B, T, D] under an additive mask [Q, T] or [B, Q, T]."""
    scores = torch.baddbmm(mask, query, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype), values)


def _rotate(states: Tensor, turns: Tensor) -> None:
    """Turn neighbouring coordinates of [N, H, D] in place, as complex numbers, by ``turns`` [N, 1, D / 2]."""
    if states.dtype == torch.float32:
        torch.view_as_complex(states.unflatten(-1, (-1, 2))).mul_(turns)
    else:
        turned = torch.view_as_complex(states.float().unflatten(-1, (-1, 2))).mul_(turns)
        states.copy_(torch.view_as_real(turned).flatten(-2))


def side_by_side(head_dim: int, rotated: int) -> Tensor:
    """Order [D] of a head's coordinates that brings i and i + ``rotated`` / 2, which turn together, side by side."""
    pairs = torch.arange(rotated).view(2, rotated // 2).T.flatten()
    return torch.cat([pairs, torch.arange(rotated, head_dim)])


def turns_of(cos: Tensor, sin: Tensor, head_dim: int) -> Tensor:
    """cos + i sin [T, 1, D / 2] of ``transformers``' cos and sin [T, R]; coordinates beyond R do not turn."""
    half = cos.shape[-1] // 2
    turns = torch.complex(cos[:, :half].float(), sin[:, :half].float())
    return F.pad(turns, (0, head_dim // 2 - half), value=1.0)[:, None]
