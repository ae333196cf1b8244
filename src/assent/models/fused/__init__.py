"""The training pass of common causal trunks on a CPU: packed rows, shared prefixes once, fused steps.

:func:`fused_states` is all that the rest of the package calls.  What it computes is what the model's own forward pass
computes, up to rounding; tests hold the two together for every family and gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from assent.models.fused.families import describe


def fused_states(trunk: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor | None:
    """Last hidden states [B, T, D] of right-padded ``tokens`` [B, T]; ``None`` where the trunk must run itself."""
    described = describe(trunk) if _undisturbed(trunk, tokens.device) else None
    return None if described is None else described.states(tokens, mask, _recomputes(trunk))


def can_fuse(trunk: nn.Module, device: torch.device) -> bool:
    """Whether :func:`fused_states` gives states."""
    return _undisturbed(trunk, device) and describe(trunk) is not None


def _undisturbed(trunk: nn.Module, device: torch.device) -> bool:
    """A CPU, master weights, no dropout, and no hooks on the modules, which would not be called."""
    if device.type != "cpu" or any(p.dtype not in (torch.float32, torch.float64) for p in trunk.parameters()):
        return False
    return not any(
        (isinstance(part, nn.Dropout) and part.training and part.p > 0)
        or part._forward_hooks  # pyright: ignore[reportPrivateUsage]
        or part._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
        for part in trunk.modules()
    )


def _recomputes(trunk: nn.Module) -> bool:
    """Whether activation checkpointing is switched on, as ``transformers`` keeps it."""
    return any(getattr(part, "gradient_checkpointing", False) and part.training for part in trunk.modules())
