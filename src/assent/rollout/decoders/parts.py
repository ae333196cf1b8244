"""Modules of ``transformers`` as plain weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from assent.models.adapters import is_adapted, merged_layer
from assent.models.plain import NotPlain
from assent.rollout.decoders.weights import Affine, Norm, turns_of


def affine(module: Any) -> Affine:
    """A linear layer's own weights, or W + s B A of one with adapters.  Raises :class:`NotPlain` where it is anything
    else."""
    module = merged_layer(module) if is_adapted(module) else module
    if type(module) is not nn.Linear:
        raise NotPlain
    return Affine(module.weight, module.bias)


def conv1d(module: Any) -> Affine:
    """GPT-2's linear layer, whose weight lies the other way round."""
    module = merged_layer(module) if is_adapted(module) else module
    if type(module) is not Conv1D:
        raise NotPlain
    return Affine(module.weight.T, module.bias)


def fused(parts: Sequence[Affine]) -> Affine:
    """Several linear layers of the same input in one, their outputs behind one another; a copy of the weights."""
    weight = torch.cat([part.weight for part in parts])
    if all(part.bias is None for part in parts):
        return Affine(weight)
    biases = [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
    return Affine(weight, torch.cat(biases))


def layer_norm(module: Any) -> Norm:
    """A layer norm's own weights."""
    if type(module) is not nn.LayerNorm:
        raise NotPlain
    return Norm(module.weight, module.bias, module.eps, centred=True)


def rms_norm(module: Any) -> Norm:
    """An RMS norm's own weights."""
    return Norm(module.weight, None, module.variance_epsilon, centred=False)


def rotary_table(rotary: Any, head_dim: int) -> Callable[[int], Tensor]:
    """The rotations of the first T positions, from the model's own rotary module."""

    def table(count: int) -> Tensor:
        like = torch.zeros(1, device=rotary.inv_freq.device)
        cos, sin = rotary(like, torch.arange(count, device=like.device)[None])
        return turns_of(cos[0], sin[0], head_dim)

    return table
