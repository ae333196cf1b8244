"""What a loss reads: rows of tokens with pairs among them and named columns, and what one forward pass gave.

Shapes use the letters B rows, T tokens, P pairs, H heads.  Everything token-shaped is aligned to the token it speaks
of: ``logprobs[b, t]`` is the log-probability of ``tokens[b, t]`` given the tokens before it, and ``values[b, t]`` is
the value of the state *before* that token was chosen.  Rows are padded on the right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

COLUMNS: Mapping[str, str] = {
    "ref_logprobs": "[B, T] log-probabilities under the reference policy",
    "old_logprobs": "[B, T] log-probabilities under the policy at the start of this batch",
    "values": "[B, T] the critic's values at the start of this batch",
    "scores": "[B] one reward per completion",
    "uncertainty": "[B] standard deviation of each score, where the source of rewards tells it",
    "costs": "[B] what a Lagrange multiplier holds to a limit, where the source of rewards tells it",
    "ended": "[B] 1 where the completion ended by itself, 0 where it was cut off by length",
    "labels": "[B] a judgement of the row: thumbs, score or class",
    "heads": "[B] the criterion of that judgement: which head of a reward model with several it trains; 0 of one",
    "mismatched": "[B] 1 where the completion was written for another row's prompt, 0 elsewhere",
    "advantages": "[B, T] advantage of each completion token, or [B] of each completion",
    "returns": "[B, T] regression targets of the critic",
    "row_weights": "[B] weight of each row in the loss",
    "kl_baseline": "[B] the mean log-ratio to the reference of a batch's mismatched rows, at least 0",
}
"""The row-shaped columns an algorithm may name in ``needs`` or add in ``prepare``."""


@dataclass(frozen=True)
class Pairs:
    """P comparisons between rows of a batch.  A batch without comparisons has P = 0."""

    rows: Tensor
    """[P, 2] int64 rows of chosen and rejected."""
    weights: Tensor
    """[P] float weight of each pair; the pairs of one ranking of K answers weigh 1 / C(K, 2) each."""
    ties: Tensor
    """[P] bool, true where chosen and rejected have equal standing."""
    margins: Tensor
    """[P] float, how far chosen stands above rejected: steps of rank, or a difference of rewards; 0 in a tie."""
    confidence: Tensor
    """[P] float, the probability that the order is right, from what is known of the annotator; 1 where nothing is."""
    heads: Tensor
    """[P] int64, the criterion that was judged: which head of a reward model with several the pair trains; 0 of one."""

    def __len__(self) -> int:
        return self.rows.shape[0]

    @staticmethod
    def none(device: torch.device | str = "cpu") -> Pairs:
        """No pair at all."""
        return Pairs.of(torch.zeros(0, 2, dtype=torch.long, device=device))

    @staticmethod
    def of(rows: Tensor, weights: Tensor | None = None, margins: Tensor | None = None) -> Pairs:
        """Decided pairs between these ``rows`` [P, 2], of weight 1 and margin 0 unless given, all sure."""
        one = torch.ones(len(rows), device=rows.device)
        return Pairs(
            rows=rows,
            weights=one if weights is None else weights,
            ties=one < 0,
            margins=torch.zeros_like(one) if margins is None else margins,
            confidence=one,
            heads=torch.zeros_like(rows[:, 0]),
        )

    @property
    def chosen(self) -> Tensor:
        return self.rows[:, 0]

    @property
    def rejected(self) -> Tensor:
        return self.rows[:, 1]

    @property
    def decided(self) -> Tensor:
        return ~self.ties

    def within(self, position: Tensor) -> Pairs:
        """The pairs whose rows both have a ``position`` [B] (-1: left out), with their rows renumbered by it."""
        rows = position[self.rows]
        kept = (rows >= 0).all(1)
        return Pairs(
            rows=rows[kept],
            weights=self.weights[kept],
            ties=self.ties[kept],
            margins=self.margins[kept],
            confidence=self.confidence[kept],
            heads=self.heads[kept],
        )

    def to(self, dtype: torch.dtype) -> Pairs:
        """A copy whose float fields are of ``dtype``."""
        return replace(
            self,
            weights=self.weights.to(dtype),
            margins=self.margins.to(dtype),
            confidence=self.confidence.to(dtype),
        )


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, pairs among them, and named columns.

    Rows of one group (the K completions of one prompt) are never split between microbatches where there are pairs.
    """

    tokens: Tensor
    """[B, T] int64 token ids."""
    mask: Tensor
    """[B, T] bool, true on real tokens."""
    completion_mask: Tensor
    """[B, T] bool, true on the tokens that the loss concerns: the completion, its end-of-sequence token included."""
    groups: Tensor
    """[B] int64, equal for the completions of one prompt."""
    pairs: Pairs
    columns: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Row-shaped extras by the names of :data:`COLUMNS`: [B] or [B, T]."""

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.columns:
            raise KeyError(f"the batch has no column '{name}'; it has {sorted(self.columns)}: name it in `needs`")
        return self.columns[name]

    def with_columns(self, **columns: Tensor) -> Batch:
        """A copy with these columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    @property
    def rows(self) -> int:
        return self.tokens.shape[0]

    def select(self, rows: Tensor) -> Batch:
        """The sub-batch of these rows ([b] int64), trimmed to its longest row; pairs go where both their rows go."""
        width = int(self.mask[rows].sum(1).max()) if len(rows) else 0
        position = torch.full((self.rows,), -1, dtype=torch.long, device=self.tokens.device)
        position[rows] = torch.arange(len(rows), device=self.tokens.device)
        return Batch(
            tokens=self.tokens[rows][:, :width],
            mask=self.mask[rows][:, :width],
            completion_mask=self.completion_mask[rows][:, :width],
            groups=self.groups[rows],
            pairs=self.pairs.within(position),
            columns={k: v[rows][:, :width] if v.dim() > 1 else v[rows] for k, v in self.columns.items()},
        )


@dataclass(frozen=True)
class Outputs:
    """What one forward pass gave, with gradient.  A field is empty ([0]) unless the algorithm's ``outputs`` name it."""

    logprobs: Tensor
    """[B, T] log-probability of each token at the sampling temperature."""
    entropy: Tensor
    """[B, T] entropy in nats of the distribution that each token was drawn from."""
    values: Tensor
    """[B, T] the critic's value before each token."""
    scores: Tensor
    """[B, H] the reward model's scalars at the last real token, one per head."""
