"""Returns and advantages, from token-level rewards."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    delta_t = r_t + gamma V_{t+1} - V_t;  A_t = sum_l (gamma lam)^l delta_{t+l};  return_t = A_t + V_t.
    All [B, T], aligned to the token chosen; ``mask`` marks the completion's tokens, which need not be contiguous (the
    turns of a conversation): the state after a token is the next masked one.  Past the last token the value is 0, also
    for a completion cut off by length: its score was given to the text as it stands.

    Returns advantages and returns [B, T], zero outside the mask.
    """
    weights = mask.to(values.dtype)
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    running = torch.zeros_like(next_value)
    for t in range(values.shape[1] - 1, -1, -1):
        here = weights[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        running = torch.where(here > 0, delta + gamma * lam * running, running)
        next_value = torch.where(here > 0, values[:, t], next_value)
        advantages[:, t] = running * here
    return advantages, (advantages + values) * weights


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale to unit variance over the masked entries of the whole batch; zero outside the mask.

    ``shift_mean=False`` keeps the mean (rewards may be scaled but not shifted).  With fewer than two entries, or no
    spread, only the shift is done.
    """
    weights = mask.to(values.dtype)
    count = weights.sum().clamp(min=1)
    mean = (values * weights).sum() / count
    variance = ((values - mean).square() * weights).sum() / (count - 1).clamp(min=1)
    scale = torch.where(variance > 1e-12, (variance + 1e-8).rsqrt(), torch.ones_like(variance))
    white = (values - mean) * scale
    return (white if shift_mean else white + mean) * weights


def at_last_token(scores: Tensor, mask: Tensor) -> Tensor:
    """[B] scores placed on the last masked token of each row: [B, T].  A row without masked tokens gets nothing."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, positions, -1).max(1).values
    return scores[:, None] * (positions[None, :] == last[:, None]).to(scores.dtype)
