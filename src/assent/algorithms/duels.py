"""The completions of one prompt set against one another: ranks and pairs within groups, from their scores.

Whether two rows are of one group is looked up in a [B, B] table of bools: 16 MB for 4096 completions a step.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from assent.algorithms.batch import Pairs


def same_group(groups: Tensor) -> Tensor:
    """[B, B] bool, true where two rows are completions of one prompt (a row and itself too).  ``groups`` [B]."""
    return groups[:, None] == groups[None, :]


def group_sizes(groups: Tensor) -> Tensor:
    """[B] int64, how many completions the row's group has: K.  ``groups`` [B]."""
    return same_group(groups).sum(1)


def group_ranks(groups: Tensor, scores: Tensor) -> Tensor:
    """[B] int64, the row's place in its group by score: 0 is the best.  Of equal scores the first row is before.

    ``groups``, ``scores`` [B].
    """
    above = scores[None, :] > scores[:, None]
    equal_before = (scores[None, :] == scores[:, None]).tril(-1)
    return (same_group(groups) & (above | equal_before)).sum(1)


def all_duels(groups: Tensor, scores: Tensor) -> Pairs:
    """All C(K, 2) pairs of each group, the better row as chosen, the gap of the scores as margin.

    The pairs of a group weigh 1 / C(K, 2) each, so that groups count alike whatever their size; a group of one has
    none.  Equal scores are ties.  ``groups``, ``scores`` [B].
    """
    ranks, sizes = group_ranks(groups, scores), group_sizes(groups).to(scores.dtype)
    wanted = same_group(groups) & (ranks[:, None] < ranks[None, :])
    return _pairs(wanted, scores, 2.0 / (sizes * (sizes - 1)).clamp(min=1))


def extreme_duels(groups: Tensor, scores: Tensor) -> Pairs:
    """The best row of each group against the worst, one pair of weight 1; a tie where all scores are equal.

    ``groups``, ``scores`` [B].
    """
    ranks, sizes = group_ranks(groups, scores), group_sizes(groups)
    best, worst = (ranks == 0) & (sizes > 1), ranks == sizes - 1
    return _pairs(same_group(groups) & best[:, None] & worst[None, :], scores, torch.ones_like(scores))


def _pairs(wanted: Tensor, scores: Tensor, row_weights: Tensor) -> Pairs:
    """The pairs (i, j) where ``wanted`` [B, B] is true, weighing ``row_weights`` [B] of their chosen row."""
    rows = wanted.nonzero()
    margins = scores[rows[:, 0]] - scores[rows[:, 1]]
    pairs = Pairs.of(rows, row_weights[rows[:, 0]], margins).to(scores.dtype)
    return replace(pairs, ties=margins == 0)


def pair_mean(values: Tensor, pairs: Pairs) -> Tensor:
    """The mean of ``values`` [P] by the pairs' weights; 0 where there is no pair."""
    return (values * pairs.weights).sum() / pairs.weights.sum().clamp(min=1e-12)
