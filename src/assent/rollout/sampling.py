"""Exact draws from a categorical distribution, by inversion, with random numbers that belong to the row."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from assent.errors import DataError
from assent.types import SamplingSettings

_BLOCK = 256
"""Tokens of a block of :func:`invert`."""
_PORTION = 1 << 19
"""Logits that are worked on at once."""


def row_uniforms(seed: int, prompt_id: str, sample_index: int, count: int) -> np.ndarray:
    """``count`` uniforms in [0, 1) of one row: a counter-based stream keyed by seed, prompt and sample index."""
    digest = hashlib.sha256(f"{seed}\x1f{prompt_id}\x1f{sample_index}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def row_seed(seed: int, prompt_id: str, sample_index: int) -> int:
    """A seed of one row, in [0, 2^31), for engines with random numbers of their own."""
    digest = hashlib.sha256(f"{seed}\x1f{prompt_id}\x1f{sample_index}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def truncate(log_p: Tensor, top_k: int, top_p: float, min_p: float = 0.0) -> Tensor:
    """Log-probabilities [B, V] with everything at -inf that is outside the top k, outside the nucleus of mass p, or
    less than ``min_p`` times as probable as the most probable token.

    The nucleus is the smallest set of most probable tokens with total mass of at least ``top_p`` (Holtzman et al. 2020,
    arXiv:1904.09751), taken after top-k as in ``transformers``; min-p (Nguyen et al. 2024, arXiv:2407.01082) comes
    last.  Not renormalised.
    """
    if 0 < top_k < log_p.shape[-1]:
        bound = log_p.topk(top_k, -1).values[:, -1:]
        log_p = log_p.masked_fill(log_p < bound, -torch.inf)
    if top_p < 1.0:
        ordered, index = log_p.sort(-1, descending=True)
        mass = torch.softmax(ordered, -1)
        outside = _running_sum(mass) - mass >= top_p
        log_p = log_p.masked_fill(torch.zeros_like(outside).scatter(1, index, outside), -torch.inf)
    if min_p > 0.0:
        log_p = log_p.masked_fill(log_p < log_p.amax(-1, keepdim=True) + math.log(min_p), -torch.inf)
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
    [B], bans and biases aside, and under the distribution that was drawn from [B].  A bias is added to the logits
    before the temperature divides them.  Temperature 0 takes the most probable token, whose ``logprobs`` are then those
    at temperature 1.
    """
    # A few rows at a time, so that what is made of them stays in the processor's cache.
    size = len(logits) if logits.is_cuda else max(1, _PORTION // logits.shape[1])
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        scaled = logits[rows].float()
        if sampling.temperature not in (0.0, 1.0):
            scaled = scaled / sampling.temperature
        if sampling.temperature > 0.0 and banned is None and not (truncates(sampling) or sampling.logit_bias):
            parts.append(_plain(scaled, uniforms[rows]))
        else:
            held = None if banned_rows is None else banned_rows[rows]
            parts.append(_of_changed(scaled, uniforms[rows], sampling, banned, held))
    if len(parts) == 1:
        return parts[0]
    tokens, logprobs, sampled = (torch.cat(column) for column in zip(*parts, strict=True))
    return tokens, logprobs, sampled


def truncates(sampling: SamplingSettings) -> bool:
    """Whether some tokens are never drawn because they are not probable enough."""
    return bool(sampling.top_k or sampling.top_p < 1.0 or sampling.min_p)


def _plain(scaled: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A draw from softmax of ``scaled`` [B, V] itself."""
    top = scaled.amax(-1, keepdim=True)
    tokens, total = invert((scaled - top).exp_(), uniforms)
    chosen = ((scaled.gather(1, tokens[:, None]) - top)[:, 0].double() - total.log()).float()
    return tokens, chosen, chosen


def _of_changed(
    scaled: Tensor, uniforms: Tensor, sampling: SamplingSettings, banned: Tensor | None, rows: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """A draw from ``scaled`` [B, V] after bias, bans and truncation; or its largest."""
    top = scaled.amax(-1, keepdim=True)
    relative = scaled - top
    total = _in_blocks(relative.exp())[1]
    kept = relative
    if sampling.logit_bias:
        kept = kept + bias_of(sampling, kept.shape[1], kept.device) / (sampling.temperature or 1.0)
    if banned is not None:
        kept = _without(kept, banned, rows)
    if sampling.temperature == 0.0:
        tokens = kept.argmax(-1)
        chosen = _log_share(relative, tokens, total)
        return tokens, chosen, torch.zeros_like(chosen)
    kept = truncate(kept, sampling.top_k, sampling.top_p, sampling.min_p)
    kept = kept - kept.amax(-1, keepdim=True)
    tokens, kept_total = invert(kept.exp(), uniforms)
    return tokens, _log_share(relative, tokens, total), _log_share(kept, tokens, kept_total)


def _log_share(log_weights: Tensor, tokens: Tensor, total: Tensor) -> Tensor:
    """Log-probabilities [B] of tokens [B] whose weights are exp(``log_weights`` [B, V]), ``total`` [B] in all."""
    return (log_weights.gather(1, tokens[:, None])[:, 0].double() - total.log()).float()


@lru_cache(maxsize=4)  # what is recorded to be replayed on a GPU may not copy from the CPU
def bias_of(sampling: SamplingSettings, vocabulary: int, device: torch.device) -> Tensor:
    """What is added to each token's logit [V].  An id outside the vocabulary is a ``DataError``."""
    ids, values = zip(*sampling.logit_bias, strict=True)
    outside = [i for i in ids if not 0 <= i < vocabulary]
    if outside:
        raise DataError(f"logit_bias names token {outside[0]}, and the model has tokens 0 to {vocabulary - 1}")
    bias = torch.zeros(vocabulary, device=device)
    return bias.index_add(0, torch.tensor(ids, device=device), torch.tensor(values, device=device))


def invert(p: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum of weights p [B, V] first exceeds u times their total, and the total [B] in float64.

    In two levels, for speed: sums over blocks of tokens first, then the cumulative sum within the one block that holds
    the draw.  A block is summed in float32, everything else in float64, so it is the draw of the plain cumulative sum
    up to float32's rounding at the border of two blocks.
    """
    blocks, total, above = _in_blocks(p)
    target = (uniforms * total)[:, None]
    # u * total may round to the total itself: the last block with any weight, not the one behind it.
    block = torch.minimum(
        torch.searchsorted(above, target, right=True), torch.searchsorted(above, total[:, None].contiguous())
    ).clamp(max=above.shape[1] - 1)  # only beyond where p is not finite, which is the training loop's to report
    below = torch.where(block > 0, above.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, _BLOCK))[:, 0].double()
    inside = _running_sum(inside)
    last = torch.searchsorted(inside, inside[:, -1:].contiguous())
    place = torch.minimum(torch.searchsorted(inside, target - below, right=True), last)
    return (block * _BLOCK + place)[:, 0].clamp(max=p.shape[1] - 1), total


def _in_blocks(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [B, V] as [B, blocks, tokens], their total [B], and the cumulative sum [B, blocks] over whole blocks."""
    rest = -p.shape[1] % _BLOCK
    blocks = (p if rest == 0 else torch.nn.functional.pad(p, (0, rest))).unflatten(1, (-1, _BLOCK))
    above = _running_sum(blocks.sum(-1).double())
    return blocks, above[:, -1], above


def _running_sum(values: Tensor) -> Tensor:
    """The cumulative sum over the last dimension [..., N].  Where kernels must give the same bits each time, that of a
    GPU is refused by torch, so the CPU makes it."""
    if values.is_cuda and torch.are_deterministic_algorithms_enabled():
        return values.cpu().cumsum(-1).to(values.device)
    return values.cumsum(-1)


def _without(log_p: Tensor, banned: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return log_p.index_fill(1, banned, -torch.inf)
    kept = log_p.clone()
    kept[:, banned] = kept[:, banned].masked_fill(rows[:, None], -torch.inf)
    return kept
