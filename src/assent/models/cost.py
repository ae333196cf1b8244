"""How many floating-point operations the matrix products of a model need, whatever a program spends on them.

A token's forward pass costs 2 N for N weights in matrices (embeddings are looked up and cost nothing), the head's 2 V D
only where a log-probability is wanted, and causal attention 2 L D t^2 for a row of t tokens over L layers of width D
(t^2 / 2 pairs, two products of 2 D each).  The backward pass costs that again for the gradients of states, and again
for those of weights that are trained: 6 N a trained token, with an adapter over frozen weights little more than 4 N.
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
    trained: int
    """Weights of the body that are trained."""
    head_trained: bool

    @classmethod
    def of(cls, trunk: nn.Module, head: nn.Module | None = None) -> Cost:
        """``trunk`` a Hugging Face model; ``head``, its output embeddings, may be part of it."""
        looked_up = {id(module.weight) for module in trunk.modules() if isinstance(module, nn.Embedding)}
        weight: Any = None if head is None else head.weight
        if weight is not None:
            looked_up.add(id(weight))
        matrices = [p for p in trunk.parameters() if p.dim() > 1 and id(p) not in looked_up]
        body, trained = sum(map(_weights, matrices)), sum(_weights(p) for p in matrices if p.requires_grad)
        config: Any = getattr(trunk, "config", None)
        layers, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
        head_size, head_trained = (0, False) if weight is None else (weight.numel(), weight.requires_grad)
        return cls(body, head_size, layers * width, trained, head_trained)

    def forward(self, lengths: Sequence[int], heads: int = 0) -> float:
        """FLOPs of rows of these lengths, ``heads`` of whose tokens go through the head."""
        tokens, squares = sum(lengths), sum(n * n for n in lengths)
        return 2.0 * (self.body * tokens + self.head * heads + self.attention * squares)

    def step(self, lengths: Sequence[int], heads: int = 0) -> float:
        """FLOPs of the forward and the backward pass; the arguments are those of :meth:`forward`."""
        tokens, squares = sum(lengths), sum(n * n for n in lengths)
        of_weights = self.trained * tokens + (self.head if self.head_trained else 0) * heads + self.attention * squares
        return 2.0 * self.forward(lengths, heads) + 2.0 * of_weights


def _weights(parameter: nn.Parameter) -> int:
    """How many weights a matrix stands for; one in 4 bits has two in a byte."""
    quantised = getattr(parameter, "quant_state", None)
    return parameter.numel() if quantised is None else quantised.shape.numel()
