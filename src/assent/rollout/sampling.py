"""Exact draws from a categorical distribution, by inversion, with random numbers that belong to the row."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from assent.types import SamplingSettings

_BLOCK = 256
"""Tokens of a block of :func:`invert`."""


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
    logits: Tensor,
    uniforms: Tensor,
    sampling: SamplingSettings,
    banned: Tensor | None = None,
    banned_rows: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one token a row by inverting the cumulative distribution.

    ``logits`` [B, V], ``uniforms`` [B] float64, ``banned`` ids that may not be drawn now, in the rows where
    ``banned_rows`` [B] is true (``None``: in all).  Returns tokens [B], their log-probabilities under temperature alone
    [B], bans aside, and under the truncated distribution that was drawn from [B].  Temperature 0 takes the most
    probable token, whose ``logprobs`` are then those at temperature 1.
    """
    greedy = sampling.temperature == 0.0
    scaled = logits.float()
    if not greedy and sampling.temperature != 1.0:
        scaled = scaled / sampling.temperature
    log_p = torch.log_softmax(scaled, -1)
    kept = log_p if banned is None else _without(log_p, banned, banned_rows)
    if greedy:
        tokens = kept.argmax(-1)
        chosen = log_p.gather(1, tokens[:, None])[:, 0]
        return tokens, chosen, torch.zeros_like(chosen)
    tokens, total = invert(truncate(kept, sampling.top_k, sampling.top_p).exp(), uniforms)
    chosen = log_p.gather(1, tokens[:, None])[:, 0]
    return tokens, chosen, chosen - total.log().float()


def invert(p: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum of weights p [B, V] first exceeds u times their total, and the total [B] in float64.

    In two levels, for speed: sums over blocks of tokens first, then the cumulative sum within the one block that holds
    the draw.  Both are in float64, so it is the draw of the plain cumulative sum, up to float64's rounding at the
    border of two tokens.
    """
    rest = -p.shape[1] % _BLOCK
    blocks = (p if rest == 0 else torch.nn.functional.pad(p, (0, rest))).unflatten(1, (-1, _BLOCK))
    above = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    total = above[:, -1]
    target = (uniforms * total)[:, None]
    # u * total may round to the total itself: the last block with any weight, not the one behind it.
    block = torch.minimum(
        torch.searchsorted(above, target, right=True), torch.searchsorted(above, total[:, None].contiguous())
    ).clamp(max=above.shape[1] - 1)  # only beyond where p is not finite, which is the training loop's to report
    below = torch.where(block > 0, above.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, _BLOCK))[:, 0].double().cumsum(-1)
    last = torch.searchsorted(inside, inside[:, -1:].contiguous())
    place = torch.minimum(torch.searchsorted(inside, target - below, right=True), last)
    return (block * _BLOCK + place)[:, 0].clamp(max=p.shape[1] - 1), total


def _without(log_p: Tensor, banned: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return log_p.index_fill(1, banned, -torch.inf)
    kept = log_p.clone()
    kept[:, banned] = kept[:, banned].masked_fill(rows[:, None], -torch.inf)
    return kept
