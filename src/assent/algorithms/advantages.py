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


def returns_to_go(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """G_t = sum_{s >= t} gamma^(s - t) r_s over masked tokens [B, T], zero outside: GAE without critic, lambda 1."""
    return gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)[0]


def group_mean(values: Tensor, groups: Tensor) -> Tensor:
    """The mean over the entries of the same group, for each entry.  ``values``, ``groups`` and the result [B]."""
    total, count = _group_sums(values, groups)
    return total / count


def leave_one_out_mean(values: Tensor, groups: Tensor) -> Tensor:
    """The mean over the *other* entries of the same group (Kool et al. 2019), for each entry [B]; 0 for one alone.

    As a baseline it is independent of its own entry's sample, and so leaves the policy gradient unbiased, also where
    the entry is alone.
    """
    total, count = _group_sums(values, groups)
    return torch.where(count > 1, (total - values) / (count - 1).clamp(min=1), torch.zeros_like(values))


def group_std(values: Tensor, groups: Tensor) -> Tensor:
    """The standard deviation (dividing by K - 1) of each entry's group [B]; 0 for one alone."""
    squares, count = _group_sums((values - group_mean(values, groups)).square(), groups)
    return (squares / (count - 1).clamp(min=1)).sqrt()


def batch_mean(values: Tensor, groups: Tensor) -> Tensor:
    """The mean over the whole batch, for each entry, its own value included; ``groups`` play no part."""
    return values.mean().expand_as(values)


def no_baseline(values: Tensor, groups: Tensor) -> Tensor:
    return torch.zeros_like(values)


def _group_sums(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over each entry's group and its size, for each entry [B]."""
    first = torch.searchsorted(groups.sort().values, groups)  # where a group begins once sorted: one number per group
    none = torch.zeros_like(values)
    total, count = none.index_add(0, first, values), none.index_add(0, first, torch.ones_like(values))
    return total[first], count[first]
