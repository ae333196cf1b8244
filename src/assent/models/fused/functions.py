"""The differentiable steps of a block, each saving no more than its backward pass reads.

Weights are float32 masters (or float64 in tests); ``dtype`` is what products are computed in, bfloat16 under autocast.
The states between blocks stay in the precision of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.models.adapters import LowRank
from assent.models.fused.kernels import Normed, add_norm, add_norm_backward, gate, gate_backward


@dataclass(frozen=True)
class Linear:
    """One or more linear layers of the same input, their outputs behind one another."""

    weights: Sequence[Tensor]
    """[out, in] each, or [in, out] where ``transposed`` (GPT-2)."""
    biases: Sequence[Tensor | None]
    transposed: bool = False
    added: Sequence[Sequence[LowRank]] = ()
    """The adapters of each; empty where none has any."""

    def of_adapters(self, states: Tensor) -> Tensor:
        """[N, out] what the adapters add."""
        parts: list[Tensor] = []
        for weight, ranks in zip(self.weights, self.added, strict=True):
            part = None
            for rank in ranks:
                down = F.linear(states, rank.down.to(states.dtype))
                more = F.linear(down, rank.up.to(states.dtype)) * rank.scale
                part = more if part is None else part + more
            size = weight.shape[1 if self.transposed else 0]
            parts.append(states.new_zeros(len(states), size) if part is None else part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def joined(self, dtype: torch.dtype) -> Tensor:
        """The weight [out, in] of all of them, as ``dtype``: a view of one, a copy of several."""
        weights = [w.T if self.transposed else w for w in self.weights]
        return (weights[0] if len(weights) == 1 else torch.cat(weights)).to(dtype)

    def joined_bias(self, dtype: torch.dtype) -> Tensor | None:
        """The bias [out]; ``None`` where no layer has one."""
        if all(bias is None for bias in self.biases):
            return None
        sizes = [w.shape[1 if self.transposed else 0] for w in self.weights]
        pairs = zip(self.biases, sizes, strict=True)
        return torch.cat([self.weights[0].new_zeros(size) if bias is None else bias for bias, size in pairs]).to(dtype)

    @property
    def parameters(self) -> list[Tensor | None]:
        return [*self.weights, *self.biases]

    def gradients(self, ctx: Any, first: int, states: Tensor, grad: Tensor) -> list[Tensor | None]:
        """Gradients of :attr:`parameters`, which are the inputs of a function from place ``first`` on."""
        count = len(self.weights)
        needs = ctx.needs_input_grad[first : first + 2 * count]
        sizes = [w.shape[1 if self.transposed else 0] for w in self.weights]
        whole = (grad.T @ states).to(self.weights[0].dtype).split(sizes) if any(needs[:count]) else [None] * count
        sums = grad.sum(0, dtype=self.weights[0].dtype).split(sizes) if any(needs[count:]) else [None] * count
        turned = [g.T if g is not None and self.transposed else g for g in whole]
        return [g if need else None for g, need in zip([*turned, *sums], needs, strict=True)]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, layer: Linear, *parameters: Tensor | None) -> Tensor:
        ctx.save_for_backward(states)
        ctx.layer = layer
        return F.linear(states, layer.joined(states.dtype), layer.joined_bias(states.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (states,) = ctx.saved_tensors
        layer: Linear = ctx.layer
        grad = grads[0] @ layer.joined(states.dtype) if ctx.needs_input_grad[0] else None
        return grad, None, *layer.gradients(ctx, 2, states, grads[0])


def linear(states: Tensor, layer: Linear) -> Tensor:
    """[N, out] of states [N, in], in the states' own precision."""
    out: Tensor = _Linear.apply(states, layer, *layer.parameters)  # pyright: ignore[reportAssignmentType]
    return out + layer.of_adapters(states) if layer.added else out


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        return gate(both)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        return gate_backward(both, grads[0])[0]


class _Gated(torch.autograd.Function):
    """The gate and the projection behind it; the gated states are computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, both: Tensor, layer: Linear, *parameters: Tensor | None) -> Tensor:
        ctx.save_for_backward(both)
        ctx.layer = layer
        return F.linear(gate(both), layer.joined(both.dtype), layer.joined_bias(both.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (both,) = ctx.saved_tensors
        layer: Linear = ctx.layer
        grad, gated = gate_backward(both, grads[0] @ layer.joined(both.dtype))
        return grad, None, *layer.gradients(ctx, 2, gated, grads[0])


def gated(both: Tensor, layer: Linear) -> Tensor:
    """``layer`` of silu(g) * u, for ``both`` [N, 2 F] = g and u side by side."""
    if layer.added:
        return linear(_Gate.apply(both), layer)  # pyright: ignore[reportArgumentType]
    return _Gated.apply(both, layer, *layer.parameters)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Norm:
    """An RMS norm, or a layer norm."""

    weight: Tensor
    bias: Tensor | None
    eps: float
    rms: bool


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        delta: Tensor | None,
        norm: Norm,
        dtype: torch.dtype,
        weight: Tensor,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        normed = add_norm(states, delta, weight.detach(), bias, norm.eps, norm.rms, dtype)
        ctx.save_for_backward(normed.total, normed.mean, normed.rstd, weight)
        ctx.norm, ctx.delta = norm, None if delta is None else delta.dtype
        return normed.total, normed.out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total, mean, rstd, weight = ctx.saved_tensors
        norm: Norm = ctx.norm
        found = Normed(total, grads[1], mean, rstd)
        grad, of_weight, of_bias = add_norm_backward(found, weight, norm.rms, grads[0])
        of_delta = None if ctx.delta is None else grad.to(ctx.delta)
        return grad, of_delta, None, None, of_weight, None if norm.bias is None else of_bias


def add_and_norm(states: Tensor, delta: Tensor | None, norm: Norm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The residual stream [N, D] with ``delta`` added, and its norm in ``dtype``."""
    return _AddNorm.apply(states, delta, norm, dtype, norm.weight, norm.bias)  # pyright: ignore[reportReturnType]


class _Take(torch.autograd.Function):
    """Rows of a matrix; the backward pass adds them up in their order."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, places: Tensor) -> Tensor:
        ctx.places, ctx.shape = places, states.shape
        return states[places]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].new_zeros(ctx.shape)
        return grad.index_add_(0, ctx.places.flatten(), grads[0].reshape(-1, ctx.shape[1])), None


def take(states: Tensor, places: Tensor) -> Tensor:
    """[..., D] the rows of ``states`` [N, D] at ``places`` [...]."""
    return _Take.apply(states, places)  # pyright: ignore[reportReturnType]
