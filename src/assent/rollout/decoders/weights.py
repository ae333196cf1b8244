"""A model as the decoders run it: tensors and a few numbers, whatever family they came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """x W^T + b, of a weight [out, in] and a bias [out] or none."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight, self.bias)

    def to(self, dtype: torch.dtype) -> Affine:
        return Affine(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


@dataclass(frozen=True)
class Norm:
    """A layer norm where ``centred``, an RMS norm where not."""

    weight: Tensor
    bias: Tensor | None
    eps: float
    centred: bool

    def __call__(self, states: Tensor) -> Tensor:
        if self.centred:
            return F.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)
        return F.rms_norm(states, self.weight.shape, self.weight, self.eps)

    def to(self, dtype: torch.dtype) -> Norm:
        return replace(self, weight=self.weight.to(dtype), bias=None if self.bias is None else self.bias.to(dtype))


@dataclass(frozen=True)
class HeadNorm:
    """The RMS norm of each head of the queries and keys [N, H + Hkv, D], before the rotation (Qwen 3)."""

    weight: Tensor
    eps: float

    def __call__(self, states: Tensor) -> Tensor:
        return F.rms_norm(states, states.shape[-1:], None, self.eps) * self.weight


@dataclass(frozen=True)
class Activation:
    """The nonlinearity of the MLP, under the name that the model's configuration has for it."""

    name: str
    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """One block.  ``qkv`` maps [N, d] to [N, (H + 2 Hkv) D]: queries, keys and values, heads one after another.

    With rotary positions, the coordinates that turn together lie side by side in the queries and keys: a permutation of
    both that no product of theirs sees.
    """

    attention_norm: Norm
    qkv: Affine
    out: Affine
    mlp_norm: Norm
    up: Affine
    """Where ``gated``, the gate's outputs and then what is gated."""
    down: Affine
    activation: Activation
    gated: bool
    scale: float
    """Of the scores, usually D^-1/2."""
    parallel: bool = False
    """Attention and MLP both read the block's input (GPT-NeoX)."""
    head_norm: HeadNorm | None = None

    def mlp(self, states: Tensor) -> Tensor:
        up = self.up(states)
        if not self.gated:
            return self.down(self.activation.function(up))
        gate, up = up.chunk(2, -1)
        return self.down(self.activation.function(gate) * up)

    def to(self, dtype: torch.dtype) -> Layer:
        head = self.head_norm and replace(self.head_norm, weight=self.head_norm.weight.to(dtype))
        parts = ("attention_norm", "qkv", "out", "mlp_norm", "up", "down")
        return replace(self, head_norm=head, **{part: getattr(self, part).to(dtype) for part in parts})


@dataclass(frozen=True)
class Weights:
    """A model's weights: views of its own where possible, copies where the decoders want another order."""

    tokens: Tensor
    """Embeddings [V, d]."""
    positions: Tensor | None
    """Embeddings [T, d] of positions, or none."""
    layers: Sequence[Layer]
    norm: Norm
    head: Affine
    heads: int
    kv_heads: int
    head_dim: int
    rotary: Callable[[int], Tensor] | None
    """cos + i sin [T, 1, D / 2] of the first T positions; ``None`` where positions are embedded."""

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    @property
    def dtype(self) -> torch.dtype:
        return self.tokens.dtype

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """States [N, d] of tokens [N] at positions [N]."""
        states = F.embedding(tokens, self.tokens)
        return states if self.positions is None else states + F.embedding(positions, self.positions)

    def to(self, dtype: torch.dtype) -> Weights:
        """These weights, or copies of them in another precision."""
        if dtype == self.dtype:
            return self
        return replace(
            self,
            tokens=self.tokens.to(dtype),
            positions=None if self.positions is None else self.positions.to(dtype),
            layers=[layer.to(dtype) for layer in self.layers],
            norm=self.norm.to(dtype),
            head=self.head.to(dtype),
        )


def side_by_side(head_dim: int, rotated: int) -> Tensor:
    """Order [D] of a head's coordinates that brings i and i + ``rotated`` / 2, which turn together, side by side."""
    pairs = torch.arange(rotated).view(2, rotated // 2).T.flatten()
    return torch.cat([pairs, torch.arange(rotated, head_dim)])


def turns_of(cos: Tensor, sin: Tensor, head_dim: int) -> Tensor:
    """cos + i sin [T, 1, D / 2] of ``transformers``' cos and sin [T, R]; coordinates beyond R do not turn."""
    half = cos.shape[-1] // 2
    turns = torch.complex(cos[:, :half].float(), sin[:, :half].float())
    return F.pad(turns, (0, head_dim // 2 - half), value=1.0)[:, None]
