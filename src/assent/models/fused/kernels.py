"""The passes between matrix products: compiled (:mod:`library`) for float32 and bfloat16, else the same by PyTorch.

In bfloat16 the products' inputs and outputs are rounded; what is computed here is float32 throughout.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.models.fused.library import library

_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}
_TYPES = (*_SUFFIX, torch.int64)
_BLOCK = 64
"""Rows whose gradient of a norm's weight is summed by one thread."""


def run(name: str, *arguments: Tensor | float | bool | None, dtype: torch.dtype) -> bool:
    """Call a compiled function with contiguous tensors; false where there is none for them."""
    loaded = library()
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    if loaded is None or any(t.device.type != "cpu" or t.dtype not in _TYPES for t in tensors):
        return False
    function = getattr(loaded, f"{name}_{_SUFFIX[dtype]}")
    plain = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
    function(torch.get_num_threads(), *plain)
    return True


def compiled_for(states: Tensor) -> bool:
    """Whether :func:`run` has functions for these."""
    return library() is not None and states.device.type == "cpu" and states.dtype in _SUFFIX


class Normed(NamedTuple):
    """What :func:`add_norm` gives."""

    total: Tensor
    """[N, D] the sum, in the precision of the residual stream."""
    out: Tensor
    """[N, D] normed, in the precision of the products."""
    mean: Tensor
    """[N]; zero for an RMS norm."""
    rstd: Tensor
    """[N]"""


def add_norm(
    states: Tensor, delta: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float, rms: bool, dtype: torch.dtype
) -> Normed:
    """The sum of states and delta [N, D], and its RMS norm (Zhang & Sennrich 2019) or layer norm."""
    count, width = states.shape
    stats = states.new_empty(2, count)
    normed = Normed(torch.empty_like(states), states.new_empty(count, width, dtype=dtype), stats[0], stats[1])
    given = (states, None if delta is None else delta.to(dtype).contiguous(), weight, bias, eps, rms)
    if not run("add_norm", count, width, *given, normed.total, normed.out, normed.mean, normed.rstd, dtype=dtype):
        total = states if delta is None else states + delta
        mean = torch.zeros_like(stats[0]) if rms else total.mean(-1)
        away = total - mean[:, None]
        rstd = torch.rsqrt(away.square().mean(-1) + eps)
        out = away * rstd[:, None] * weight
        return Normed(total, (out if bias is None else out + bias).to(dtype), mean, rstd)
    return normed


def add_norm_backward(normed: Normed, weight: Tensor, rms: bool, grad_total: Tensor | None) -> tuple[Tensor, ...]:
    """Gradients of states [N, D], weight [D] and bias [D]; ``normed.out`` holds that of the output."""
    total, grad_out, mean, rstd = normed
    count, width = total.shape
    grad = torch.zeros_like(total) if grad_total is None else grad_total.clone()
    parts = total.new_zeros(2, -(-count // _BLOCK), width)
    grad_out = grad_out.contiguous()
    given = (total, mean, rstd, weight, grad_out, rms, grad, parts[0], parts[1])
    if not run("add_norm_backward", count, width, _BLOCK, *given, dtype=grad_out.dtype):
        grad_out = grad_out.to(total.dtype)
        xhat = (total - mean[:, None]) * rstd[:, None]
        t = grad_out * weight
        centre = 0.0 if rms else t.mean(-1, keepdim=True)
        grad += rstd[:, None] * (t - centre - xhat * (t * xhat).mean(-1, keepdim=True))
        return grad, (grad_out * xhat).sum(0), grad_out.sum(0)
    return grad, *parts.sum(1)


def gate(both: Tensor) -> Tensor:
    """silu(g) * u [N, F] of ``both`` [N, 2 F] (SwiGLU: Shazeer 2020, arXiv:2002.05202)."""
    count, width = both.shape[0], both.shape[1] // 2
    out = both.new_empty(count, width)
    if not run("gate", count, width, both, out, dtype=both.dtype):
        g, u = both.chunk(2, -1)
        return F.silu(g) * u
    return out


def gate_backward(both: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient [N, 2 F] of :func:`gate` from that of its output, and its output again."""
    out, gated = torch.empty_like(both), torch.empty_like(grad)
    if not run("gate_backward", *grad.shape, both, grad.contiguous(), out, gated, dtype=both.dtype):
        g, u = both.chunk(2, -1)
        s = torch.sigmoid(g)
        return torch.cat([grad * u * s * (1 + g * (1 - s)), grad * F.silu(g)], -1), F.silu(g) * u
    return out, gated


def lse_update(logits: Tensor, scale: float, peak: Tensor, total: Tensor, moment: Tensor | None) -> None:
    """Take columns [N, C] of z = ``scale`` * logits into the running maximum m [N], the sum of e^(z - m) and, where
    wanted, the sum of (z - m) e^(z - m)."""
    if not run("lse_update", *logits.shape, logits, scale, peak, total, moment, dtype=logits.dtype):
        z = logits.to(peak.dtype) * scale
        now = torch.maximum(peak, z.amax(-1))
        z = z.sub_(now[:, None])
        e, kept = torch.exp(z), torch.exp(peak - now)
        if moment is not None:
            moved = torch.where(total > 0, (moment + total * (peak - now)) * kept, 0.0)
            moment.copy_(moved + (e * z).sum(-1))
        total.mul_(kept).add_(e.sum(-1))
        peak.copy_(now)


def logits_gradient_(
    logits: Tensor,
    first: int,
    scale: float,
    normaliser: Tensor,
    targets: Tensor,
    grad: Tensor,
    entropy: Tensor | None,
    grad_entropy: Tensor | None,
) -> Tensor:
    """In place of the columns [N, C] of the logits from column ``first`` on: the gradient of the loss there.

    For z = scale * logits, l_t = z_t - logsumexp(z) and H = -sum p log p: dl_t/dz_j = [j = t] - p_j and
    dH/dz_j = -p_j (log p_j + H).  ``normaliser``, ``grad`` (of l), ``entropy`` and ``grad_entropy`` are [N].
    """
    given = (logits, scale, normaliser, targets, grad, entropy, grad_entropy)
    if not run("logits_gradient", *logits.shape, first, *given, dtype=logits.dtype):
        log_p = logits.to(normaliser.dtype).mul(scale).sub_(normaliser[:, None])
        p = log_p.exp()
        out = p * -grad[:, None]
        if entropy is not None and grad_entropy is not None:
            out.addcmul_(p, log_p.add_(entropy[:, None]).mul_(-grad_entropy[:, None]))
        here, place = among(targets, first, logits.shape[1])
        out[torch.arange(len(out), device=out.device), place] += torch.where(here, grad, 0.0)
        logits.copy_(out.mul_(scale))
    return logits


def among(targets: Tensor, first: int, columns: int) -> tuple[Tensor, Tensor]:
    """Whether targets [N] are among so many columns from the ``first`` on, and at which of them: any one where not.

    Of all rows rather than of those that are, whose number a GPU would have to be waited for.
    """
    return (targets >= first) & (targets < first + columns), (targets - first).clamp(0, columns - 1)
