"""Modules of ``transformers`` as plain functions of their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from assent.rollout.decoders.transformer import Function, turns_of


class NotPlain(Exception):
    """A module is not the architecture's own, as with an adapter: the model runs itself then."""


def affine(module: Any) -> tuple[Tensor, Tensor | None]:
    """Weight [out, in] and bias of a linear layer.  Raises :class:`NotPlain` where it is anything else."""
    if type(module) is not nn.Linear:
        raise NotPlain
    return module.weight, module.bias


def function(weight: Tensor, bias: Tensor | None) -> Function:
    """x W^T + b."""
    return lambda states: F.linear(states, weight, bias)


def linear(module: Any) -> Function:
    """A linear layer over the module's own weights."""
    return function(*affine(module))


def conv1d(module: Any) -> Function:
    """GPT-2's linear layer, whose weight lies the other way round."""
    if type(module) is not Conv1D:
        raise NotPlain
    weight, bias = module.weight, module.bias
    return lambda states: torch.addmm(bias, states, weight)


def fused(parts: Sequence[tuple[Tensor, Tensor | None]]) -> Function:
    """Several linear layers of the same input in one, their outputs behind one another; a copy of the weights."""
    weight = torch.cat([w for w, _ in parts])
    if all(b is None for _, b in parts):
        return function(weight, None)
    return function(weight, torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in parts]))


def layer_norm(module: Any) -> Function:
    """A layer norm over the module's own weights."""
    if type(module) is not nn.LayerNorm:
        raise NotPlain
    weight, bias, eps = module.weight, module.bias, module.eps
    return lambda states: F.layer_norm(states, weight.shape, weight, bias, eps)


def rotary_table(rotary: Any, head_dim: int) -> Callable[[int], Tensor]:
    """The rotations of the first T positions, from the model's own rotary module."""

    def table(count: int) -> Tensor:
        like = torch.zeros(1, device=rotary.inv_freq.device)
        cos, sin = rotary(like, torch.arange(count, device=like.device)[None])
        return turns_of(cos[0], sin[0], head_dim)

    return table
