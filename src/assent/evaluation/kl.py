"""KL divergence of a policy from its reference, estimated over samples that the policy drew."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from assent.intervals import clustered_standard_error

_LARGEST_LOG_RATIO = 20.0


@dataclass(frozen=True, slots=True)
class KLEstimate:
    """Sequence KL in nats, by two estimators over ``n`` completions; ``*_se`` are standard errors of the means.

    ``k1`` is the one to quote: it is unbiased.  ``k3`` is unbiased too as long as no log ratio is clamped, never
    negative, and often of smaller variance; a large gap between the two says that rare tokens carry the divergence.
    Standard errors are ``nan`` for fewer than two prompts.
    """

    k1: float
    k1_se: float
    k3: float
    k3_se: float
    tokens: float
    """Mean tokens of a completion; ``k1 / tokens`` is the KL of a token."""
    n: int


def token_log_ratios(logprobs: Sequence[float], ref_logprobs: Sequence[float]) -> list[float]:
    """``log policy - log reference`` of each token [T] in nats: the terms of k1, whose sum is the completion's."""
    if len(logprobs) != len(ref_logprobs):
        raise ValueError(f"{len(logprobs)} log-probabilities of the policy, {len(ref_logprobs)} of the reference")
    return [p - q for p, q in zip(logprobs, ref_logprobs, strict=True)]


def sequence_kl(
    logprobs: Sequence[Sequence[float]],
    ref_logprobs: Sequence[Sequence[float]],
    prompt_ids: Sequence[Hashable] | None = None,
) -> KLEstimate:
    """Estimate ``KL(policy || reference)`` of whole completions, in nats, from samples of the policy.

    ``logprobs[i][t]`` and ``ref_logprobs[i][t]`` are the log-probabilities of the sampled token ``t`` of completion
    ``i`` at the temperature that it was sampled at, without top-k or top-p.  With ``r = log reference - log policy``,
    k1 is the mean over completions of the sum over tokens of ``-r``, k3 that of ``exp(r) - 1 - r``, where ``r`` is
    clamped at 20 before the exponential.  ``prompt_ids`` [n], when given, clusters the standard errors by prompt.

    Raises ``ValueError`` for no completion, lengths that differ or values that are not finite.

    Source: Schulman, "Approximating KL divergence" (2020), http://joschu.net/blog/kl-approx.html.
    """
    if len(logprobs) != len(ref_logprobs):
        raise ValueError(f"{len(logprobs)} completions of the policy, {len(ref_logprobs)} of the reference")
    if not logprobs:
        raise ValueError("a KL estimate needs at least one completion")
    k1, k3 = [], []
    for policy, reference in zip(logprobs, ref_logprobs, strict=True):
        r = -np.asarray(token_log_ratios(policy, reference), dtype=np.float64)
        if not np.all(np.isfinite(r)):
            raise ValueError(f"log-probabilities must be finite; completion {len(k1)} has one that is not")
        k1.append(-r.sum())
        k3.append((np.expm1(np.minimum(r, _LARGEST_LOG_RATIO)) - r).sum())
    return KLEstimate(
        k1=float(np.mean(k1)),
        k1_se=clustered_standard_error(k1, prompt_ids),
        k3=float(np.mean(k3)),
        k3_se=clustered_standard_error(k3, prompt_ids),
        tokens=sum(map(len, logprobs)) / len(logprobs),
        n=len(k1),
    )
