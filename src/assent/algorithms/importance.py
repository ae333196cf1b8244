"""Truncated importance correction for samples that other weights drew than those that are trained.

The decoupled objective (Hilton et al. 2022, arXiv:2110.00641; Fu et al. 2025, arXiv:2505.24298): ratios and clips stay
relative to the policy at the beginning of the step, whose log-probabilities are ``old_logprobs``, and each term of the
part "policy" is weighted by min(pi_old / pi_sampled, limit) (Ionides 2008, truncated importance sampling), pi_sampled
being what the engine drew with.  A term of a token has that token's ratio, a term of a whole completion the product of
its tokens'.  The denominators stay as they are, so that below the limit the expectation of the gradient is that of
samples of pi_old (for token terms up to the change of the text before the token, as in PPO).  Other parts keep their
weights: values, entropies and pairs are learned from samples of whatever policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from assent.algorithms.base import Algorithm, Figures, Part, State
from assent.algorithms.batch import Batch
from assent.algorithms.surrogates import log_ratio, sequence_log_ratio

_PART = "policy"


def importance(batch: Batch, limit: float, *, sequences: bool = False) -> Tensor:
    """min(pi_old / pi_sampled, limit) of each token [B, T], or of each completion [B]; 1 outside completions."""
    return _ratios(batch, sequences).clamp(max=limit)


def _ratios(batch: Batch, sequences: bool) -> Tensor:
    old, sampled, mask = batch["old_logprobs"], batch["engine_logprobs"], batch.completion_mask
    change = sequence_log_ratio(old, sampled, mask) if sequences else log_ratio(old, sampled) * mask
    return change.exp()


def corrected(algorithm: Algorithm, limit: float) -> Algorithm:
    """The algorithm for batches with ``engine_logprobs``, its part "policy" corrected with this ``limit``.

    It also logs the tokens' mean weight and the share of tokens whose weight was truncated.
    """

    def prepare(batch: Batch, settings: Any, state: State) -> tuple[Batch, State, Figures]:
        ratios = _ratios(batch, sequences=False)[batch.completion_mask]
        prepared, after, figures = algorithm.prepare(batch, settings, state)
        found = {
            "importance_weight": float(ratios.clamp(max=limit).mean()),
            "importance_truncated": float((ratios > limit).to(ratios.dtype).mean()),
        }
        return prepared, after, {**figures, **found}

    def weights(batch: Batch, settings: Any) -> Mapping[str, Part]:
        parts = dict(algorithm.weights(batch, settings))
        if _PART in parts:
            part = parts[_PART]
            scale = importance(batch, limit, sequences=part.weights.dim() == 1)
            parts[_PART] = Part(part.weights * scale, part.count)
        return parts

    return replace(algorithm, prepare=prepare, weights=weights)
