"""Policy-gradient surrogates and the clipped value loss, unreduced: per token or, with a sequence's ratio, per row."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_RATIO_LIMIT = 20.0


def log_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """log pi_new - log pi_old, clamped before it is ever exponentiated (exp(20) is finite in every float type)."""
    return (logprobs - old_logprobs).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)


def sequence_log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """[B] the sum of log pi_new - log pi_old over each row's masked tokens [B, T], clamped as :func:`log_ratio` is."""
    total = ((logprobs - old_logprobs) * mask.to(logprobs.dtype)).sum(1)
    return total.clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)


def clipped_surrogate(log_ratios: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """max(-r A, -clip(r, 1 - low, 1 + high) A) of PPO (Schulman et al. 2017, arXiv:1707.06347, eq. 7), negated.

    ``log_ratios`` come from :func:`log_ratio` or :func:`sequence_log_ratio`.  Returns the terms and a 0/1 tensor of
    where the clip took the gradient away, both of the inputs' shape.
    """
    ratio = log_ratios.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    return torch.maximum(plain, clipped), (clipped > plain).to(log_ratios.dtype)


def truncated_surrogate(log_ratios: Tensor, advantages: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """-A f(log r) whose gradient is -A min(r, limit) grad log pi: the score function, importance-weighted.

    The weight min(r, c) is truncated importance sampling (Ionides 2008), and a detached factor in front of log pi in
    most code.  Here f(x) = exp(x) below log c and c (1 + x - log c) from there on, whose derivative is min(exp(x), c),
    so that the loss is a function with this gradient.  At r = 1 the gradient is plain REINFORCE's, for any c >= 1.
    Returns the terms and a 0/1 tensor of where the weight was truncated, both of the inputs' shape.
    """
    edge = math.log(limit)
    below = log_ratios < edge
    value = torch.where(below, log_ratios.clamp(max=edge).exp(), limit * (1.0 + log_ratios - edge))
    return -advantages * value, (log_ratios > edge).to(log_ratios.dtype)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """1/2 max((v - R)^2, (v_old + clip(v - v_old, -c, c) - R)^2); ``clip`` 0 or less switches the clipping off."""
    plain = (values - returns).square()
    if clip <= 0:
        return 0.5 * plain
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum(plain, (near - returns).square())
