"""Exact draws from a categorical distribution, by inversion, with random numbers that belong to the row."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from assent.types import SamplingSettings


def row_uniforms(seed: int, prompt_id: str, sample_index: int, count: int) -> np.ndarray:
    """``count`` uniforms in [0, 1) of one row: a counter-based stream keyed by seed, prompt and sample index."""
    digest = hashlib.sha256(f"{seed}\x1f{prompt_id}\x1f{sample_index}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def truncate(log_p: Tensor, top_k: int, top_p: float) -> Tensor:
    """Log-probabilities [B, V] with everything outside the top k, and outside the nucleus of mass p, at -inf.

    The nucleus is the smallest set of most probable tokens with total mass of at least ``top_p`` (Holtzman et al. 2020,
    arXiv:1904.09751), taken after top-k as in ``transformers``.  Not renormalised.
    """
    if 0 < top_k < log_p.shape[-1]:
        bound = log_p.topk(top_k, -1).values[:, -1:]
        log_p = log_p.masked_fill(log_p < bound, -torch.inf)
    if top_p < 1.0:
        ordered, index = log_p.sort(-1, descending=True)
        mass = torch.softmax(ordered, -1)
        outside = mass.cumsum(-1) - mass >= top_p
        log_p = log_p.masked_fill(torch.zeros_like(outside).scatter(1, index, outside), -torch.inf)
    return log_p


def draw(
    logits: Tensor, uniforms: Tensor, sampling: SamplingSettings, banned: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one token a row by inverting the cumulative distribution.

    ``logits`` [B, V], ``uniforms`` [B] float64, ``banned`` ids that may not be drawn now.  Returns tokens [B], their
    log-probabilities under temperature alone [B], bans aside, and under the truncated distribution that was drawn from
    [B].  Temperature 0 takes the most probable token, whose ``logprobs`` are then those at temperature 1.
    """
    greedy = sampling.temperature == 0.0
    log_p = torch.log_softmax(logits.float() / (1.0 if greedy else sampling.temperature), -1)
    kept = log_p if banned is None else log_p.index_fill(1, banned, -torch.inf)
    if greedy:
        tokens = kept.argmax(-1)
        chosen = log_p.gather(1, tokens[:, None])[:, 0]
        return tokens, chosen, torch.zeros_like(chosen)
    kept = truncate(kept, sampling.top_k, sampling.top_p)
    cumulative = kept.exp().double().cumsum(-1)
    total = cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, uniforms[:, None] * total, right=True)[:, 0]
    tokens = tokens.clamp(max=logits.shape[-1] - 1)
    chosen = log_p.gather(1, tokens[:, None])[:, 0]
    return tokens, chosen, chosen - total[:, 0].log().float()
