"""A decoder with a static key-value cache, of PyTorch's operations: for GPUs, and where there is no compiler for
:mod:`assent.rollout.native`.

On a CPU in float32 each row's numbers are the same, bit for bit, whatever else is in the batch: matrix products of
enough rows, and batched products over a number of columns that is a multiple of four and not too small, add each
output up in an order that depends on neither the number of rows or columns nor their place.  (The work of
``scaled_dot_product_attention`` is shared out among threads, and its rounding with it.)  So rows, columns and the
tokens of a prefill come in multiples of :data:`LANES`.  On a GPU all this holds up to rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.rollout.decoders.weights import Layer, Weights
from assent.rollout.sampling import draw
from assent.types import SamplingSettings

LANES = 8
"""Numbers of rows and columns are multiples of this."""
FEWEST = 2 * LANES
"""Rows of the smallest matrix product: MKL has other kernels, with another order of summation, for fewer."""
_PRODUCT = 400
"""Batched products with fewer multiplications than this for each row and head take another kernel, with another order
of summation; the columns that a step attends to are never so few."""
_SCORES = 1 << 24
"""Attention scores that a prefill may hold at once, for each layer."""
_LONG = 2048
"""Prompts beyond this are attended by a kernel that never holds their scores: equal up to rounding only."""


class TorchDecoder:
    """Decodes up to ``slots`` rows of up to ``length`` tokens with weights as they are now."""

    def __init__(self, weights: Weights, slots: int, length: int) -> None:
        self.w = weights
        self.narrowest = lanes(-(-_PRODUCT // weights.head_dim))
        length = max(lanes(length), self.narrowest, FEWEST)
        self.cache = torch.zeros(
            (len(weights.layers), 2, self.rows(slots), weights.kv_heads, length, weights.head_dim),
            dtype=weights.dtype,
            device=weights.device,
        )
        """Keys and values; zeros, since what was never written is masked, and masked infinities would be NaN."""
        self.turns = weights.rotary(length) if weights.rotary else None
        self.columns = torch.arange(length, device=weights.device)
        self.width = length
        """Columns that a step attends to."""

    @staticmethod
    def slot_bytes(weights: Weights, length: int) -> int:
        """Memory of one slot's keys and values."""
        return 2 * len(weights.layers) * weights.kv_heads * weights.head_dim * length * weights.dtype.itemsize

    def rows(self, count: int) -> int:
        """Rows that a step of ``count`` takes: the rest of them hold nothing."""
        return max(FEWEST, lanes(count))

    def advance(self, work: Callable[[], Tensor], rows: int, reach: int) -> Tensor:
        """Do ``work``, which samples once after the first ``rows`` slots, their last tokens at ``reach`` at most."""
        self.width = max(lanes(reach + 1), self.narrowest)
        return work()

    def sample(
        self,
        tokens: Tensor,
        positions: Tensor,
        uniforms: Tensor,
        sampling: SamplingSettings,
        stop: Tensor,
        young: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What :func:`assent.rollout.sampling.draw` gives after tokens [N] at ``positions`` [N] of the first N slots.

        ``stop``: ids that are not drawn in the rows where ``young`` [N] is true.
        """
        logits = self.step(tokens, positions)
        return draw(logits, uniforms, sampling, stop if sampling.min_new_tokens else None, young)

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits [N, V] after tokens [N] at ``positions`` [N] of the first N slots."""
        w, n, width = self.w, len(tokens), self.width
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

        return w.head(w.norm(self._states(w.embed(tokens, positions), turns, attend)))

    def read(self, prompts: Sequence[tuple[int, ...]], slots: Sequence[int]) -> None:
        """Keys and values of each prompt into its slot; padded on the right, which no real token sees."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        while order:
            width = max(lanes(len(prompts[order[-1]])), FEWEST)
            chosen = order[-max(1, _SCORES // (self.w.heads * width * width)) :]
            del order[-len(chosen) :]
            both = self._prefill([prompts[i] for i in chosen], width)
            places = torch.tensor([slots[i] for i in chosen], device=self.w.device)
            width = min(width, self.cache.shape[4])
            self.cache[:, :, places, :, :width] = both[..., :width, :]

    def copy(self, source: Sequence[int], target: Sequence[int], width: int) -> None:
        """Copy the first ``width`` places of slots ``source`` to slots ``target``."""
        one, other = (torch.tensor(slots, device=self.w.device) for slots in (source, target))
        self.cache[:, :, other, :, :width] = self.cache[:, :, one, :, :width]

    def _prefill(self, prompts: list[tuple[int, ...]], width: int) -> Tensor:
        """Keys and values [layers, 2, prompts, Hkv, width, D]."""
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
