"""Log-probabilities and entropies of chosen tokens without ever holding the [N, V] logits whole.

The language-model head runs over columns of the vocabulary, few enough that their logits stay in the cache; the
backward pass computes them again.  Columns rather than rows, so that each row of the weight's gradient is written once.
For logits z = h W^T / tau, p = softmax(z), l_t = z_t - logsumexp(z) and H = -sum p log p:

    dl_t/dz_j = [j = t] - p_j          dH/dz_j = -p_j (log p_j + H)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from assent.models.fused.kernels import among, logits_gradient_, lse_update

CHUNK_LOGITS = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Logits held at once: on a CPU what its cache holds, on a GPU what is worth the launches."""
FEWEST_COLUMNS = 256
"""Narrower products would not be worth their launch."""


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, want_entropy: bool
    ) -> tuple[Tensor, Tensor]:
        kept = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        product = torch.get_autocast_dtype(hidden.device.type) if _autocast(hidden) else hidden.dtype
        rows = hidden.to(product)
        peak = hidden.new_full((len(hidden),), -math.inf, dtype=kept)
        total, moment = torch.zeros_like(peak), torch.zeros_like(peak) if want_entropy else None
        chosen = torch.zeros_like(peak)
        with torch.autocast(hidden.device.type, enabled=False):
            for first, part in _columns(weight, len(rows)):
                logits = rows @ part.to(product).T
                lse_update(logits, 1.0 / temperature, peak, total, moment)
                _take_targets(logits, first, targets, chosen)
        normaliser = peak + total.log()
        entropy = peak.new_zeros(0) if moment is None else total.log() - moment / total
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy)
        ctx.temperature, ctx.product = temperature, product
        return chosen / temperature - normaliser, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """In the forward's precision, so that the logits are those that the normaliser belongs to."""
        hidden, weight, targets, normaliser, entropy = ctx.saved_tensors
        rows, scale = hidden.to(ctx.product), 1.0 / ctx.temperature
        grad, grad_entropy = grads[0].contiguous(), grads[1].contiguous() if entropy.numel() else None
        grad_hidden = torch.zeros(hidden.shape, dtype=normaliser.dtype, device=hidden.device)
        grad_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for first, part in _columns(weight, len(rows)):
                part = part.to(ctx.product)
                logits = rows @ part.T
                of_entropy = (None, None) if grad_entropy is None else (entropy, grad_entropy)
                logits_gradient_(logits, first, scale, normaliser, targets, grad, *of_entropy)
                grad_hidden += logits @ part
                if grad_weight is not None:
                    grad_weight[first : first + len(part)] = logits.T @ rows
        return grad_hidden.to(hidden.dtype), grad_weight, None, None, None


def _autocast(hidden: Tensor) -> bool:
    return torch.is_autocast_enabled(hidden.device.type) and hidden.dtype != torch.float64


def _columns(weight: Tensor, rows: int) -> list[tuple[int, Tensor]]:
    """The head's weight [V, D] in pieces, each with the vocabulary's place of its first row."""
    held = CHUNK_LOGITS.get(weight.device.type, CHUNK_LOGITS["cpu"])
    size = max(FEWEST_COLUMNS, held // max(1, rows))
    return [(first, weight[first : first + size]) for first in range(0, len(weight), size)]


def _take_targets(logits: Tensor, first: int, targets: Tensor, chosen: Tensor) -> None:
    """Put the targets' own logits, where they are among these columns, into ``chosen`` [N]."""
    here, place = among(targets, first, logits.shape[1])
    chosen.copy_(torch.where(here, logits.gather(1, place[:, None])[:, 0].to(chosen.dtype), chosen))


def chunked_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float = 1.0, want_entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and, if wanted, the entropy of its distribution.

    ``hidden`` [N, D], ``weight`` [V, D], ``targets`` [N] int64.  Returns float32 [N] and [N] ([0] when not wanted);
    float64 for float64.  Gradients flow to ``hidden`` and ``weight``.  Logits are divided by ``temperature`` first.
    Products are in the precision of ``hidden``, or in autocast's; all sums in float32.
    """
    return _ChunkedLogprobs.apply(hidden, weight, targets, temperature, want_entropy)  # pyright: ignore[reportReturnType]


def plain_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The same from whole logits [N, V], for models whose head is more than a matrix (soft caps, scales, biases)."""
    log_p = torch.log_softmax(logits.float() / temperature, -1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)
