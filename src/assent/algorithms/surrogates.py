"""Policy-gradient surrogates and the clipped value loss, per token and unreduced."""

from __future__ import annotations

import torch
from torch import Tensor

_LOG_RATIO_LIMIT = 20.0


def log_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """log pi_new - log pi_old, clamped before it is ever exponentiated (exp(20) is finite in every float type)."""
    return (logprobs - old_logprobs).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)


def clipped_surrogate(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """max(-r A, -clip(r, 1 - low, 1 + high) A) of PPO (Schulman et al. 2017, arXiv:1707.06347, eq. 7), negated.

    Returns the terms and a 0/1 tensor of where the clip took the gradient away, both of the inputs' shape.
    """
    ratio = log_ratio(logprobs, old_logprobs).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    return torch.maximum(plain, clipped), (clipped > plain).to(logprobs.dtype)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """1/2 max((v - R)^2, (v_old + clip(v - v_old, -c, c) - R)^2); ``clip`` 0 or less switches the clipping off."""
    plain = (values - returns).square()
    if clip <= 0:
        return 0.5 * plain
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum(plain, (near - returns).square())
