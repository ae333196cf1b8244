"""How many floating-point operations the matrix products of a model need, whatever a program spends on them.

A token's forward pass costs 2 N for N weights in matrices (embeddings are looked up and cost nothing), the head's 2 V D
only where a log-probability is wanted, and causal attention 2 L D t^2 for a row of t tokens over L layers of width D
(t^2 / 2 pairs, two products of 2 D each).  The backward pass costs twice the forward pass: 6 N a trained token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Cost:
    """Of a forward pass.  ``Cost.of`` reads it from a model."""

    body: int
    """Weights in the matrices of the trunk."""
    head: int
    """Weights in the matrix of the language-model head; 0 without one."""
    attention: int
    """Layers times width."""

    @classmethod
    def of(cls, trunk: nn.Module, head: nn.Module | None = None) -> Cost:
        """``trunk`` a Hugging Face model; ``head``, its output embeddings, may be part of it."""
        looked_up = {id(module.weight) for module in trunk.modules() if isinstance(module, nn.Embedding)}
        weight: Any = None if head is None else head.weight
        if weight is not None:
            looked_up.add(id(weight))
        body = sum(p.numel() for p in trunk.parameters() if p.dim() > 1 and id(p) not in looked_up)
        config: Any = getattr(trunk, "config", None)
        layers, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
        return cls(body, 0 if weight is None else weight.numel(), layers * width)

    def forward(self, lengths: Sequence[int], heads: int = 0) -> float:
        """FLOPs of rows of these lengths, ``heads`` of whose tokens go through the head."""
        tokens, squares = sum(lengths), sum(n * n for n in lengths)
        return 2.0 * (self.body * tokens + self.head * heads + self.attention * squares)
