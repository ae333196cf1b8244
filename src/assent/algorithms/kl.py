"""Estimators of KL(policy || reference) from samples of the policy, and controllers of its coefficient.

Schulman, "Approximating KL Divergence" (2020), with r = p_ref / p_policy:
k1 = -log r is unbiased with high variance; k3 = (r - 1) - log r is unbiased, never negative, with low variance;
k2 = (log r)^2 / 2 is biased, but its *gradient* is the gradient of the KL, which that of k1 (zero in expectation) and
that of k3 (the gradient of the reversed KL) are not.  So: k1 per token as a reward penalty, k2 as a loss term,
k1 and k3 as figures.  Per token, the gradient of k2 is that of each next token's KL at the prefixes that were met: what
a token does to the KL of those after it is in k1 as a reward, and in k2 of a whole sequence's log-ratio, alone.
"""

from __future__ import annotations

from torch import Tensor

_LOG_RATIO_LIMIT = 20.0


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log p_policy - log p_ref, per token.  Unbiased under samples of the policy; any sign."""
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(log p_policy - log p_ref)^2 / 2, per token.  As a loss its gradient is that of KL(policy || reference)."""
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(r - 1) - log r with r = p_ref / p_policy, per token.  Unbiased and >= 0; clamped in log space before exp."""
    log_ratio = (ref_logprobs - logprobs).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    return log_ratio.exp() - 1 - log_ratio


def adapt_coefficient(coefficient: float, kl: float, target: float, horizon: float, rows: int) -> float:
    """The proportional controller of Ziegler et al. 2019 (arXiv:1909.08593, section 2.2).

    e = clip(kl / target - 1, -0.2, 0.2); coefficient <- coefficient * (1 + e * rows / horizon).  ``kl`` in nats per
    sequence; ``rows`` episodes since the last update.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + error * rows / horizon)
