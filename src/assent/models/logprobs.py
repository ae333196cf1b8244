"""Log-probabilities and entropies of chosen tokens without ever holding the [N, V] logits whole.

The language-model head runs over chunks of rows; the backward pass recomputes each chunk's logits.  For logits
z = h W^T / tau, p = softmax(z), l_t = z_t - logsumexp(z) and H = -sum p log p:

    dl_t/dz_j = [j = t] - p_j          dH/dz_j = -p_j (log p_j + H)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_ROWS = 256
"""Rows of hidden states per chunk: the head's matmul is already efficient here and the logits stay in cache."""


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, want_entropy: bool
    ) -> tuple[Tensor, Tensor]:
        rows = hidden.shape[0]
        logprobs = torch.empty(rows, dtype=torch.float32, device=hidden.device)
        entropy = torch.zeros(rows if want_entropy else 0, dtype=torch.float32, device=hidden.device)
        normaliser = torch.empty_like(logprobs)
        for start in range(0, rows, CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            logits = _logits(hidden[part], weight, temperature)
            normaliser[part] = torch.logsumexp(logits, -1)
            logprobs[part] = logits.gather(1, targets[part, None])[:, 0] - normaliser[part]
            if want_entropy:
                log_p = logits - normaliser[part, None]
                entropy[part] = -(log_p.exp() * log_p).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy)
        ctx.temperature = temperature
        ctx.device = hidden.device.type
        ctx.autocast = torch.is_autocast_enabled(ctx.device), torch.get_autocast_dtype(ctx.device)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Under the forward's autocast, so that the logits computed again are those that the normaliser belongs to."""
        enabled, dtype = ctx.autocast
        with torch.autocast(ctx.device, dtype=dtype, enabled=enabled):
            return _ChunkedLogprobs._backward(ctx, *grads)

    @staticmethod
    def _backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, normaliser, entropy = ctx.saved_tensors
        grad_logprobs, grad_entropy = grads
        grad_hidden = torch.empty_like(hidden)
        need_weight = ctx.needs_input_grad[1]
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if need_weight else None
        with_entropy = bool(entropy.numel()) and bool(grad_entropy.any())
        for start in range(0, hidden.shape[0], CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            log_p = _logits(hidden[part], weight, ctx.temperature).sub_(normaliser[part, None])
            p = log_p.exp()
            g = grad_logprobs[part, None]
            grad = p * -g
            grad.scatter_add_(1, targets[part, None], g)
            if with_entropy:
                grad.addcmul_(p, log_p.add_(entropy[part, None]).mul_(-grad_entropy[part, None]))
            grad = (grad / ctx.temperature).to(weight.dtype)
            grad_hidden[part] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.T @ hidden[part]
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None, None, None


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


def chunked_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float = 1.0, want_entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and, if wanted, the entropy of its distribution.

    ``hidden`` [N, D], ``weight`` [V, D], ``targets`` [N] int64.  Returns float32 [N] and [N] ([0] when not wanted);
    gradients flow to ``hidden`` and ``weight``.  Logits are divided by ``temperature`` first.
    """
    return _ChunkedLogprobs.apply(hidden, weight.to(hidden.dtype), targets, temperature, want_entropy)  # pyright: ignore[reportReturnType]


def plain_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The same from whole logits [N, V], for models whose head is more than a matrix (soft caps, scales, biases)."""
    log_p = torch.log_softmax(logits.float() / temperature, -1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)
