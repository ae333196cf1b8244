"""Likelihoods of orders: win, tie and loss of a pair, and whole rankings; and the settings that such losses share.

An answer of score s has strength exp(s).  Shapes: P pairs, G rankings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import comb, log
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Mean, masked_mean
from assent.algorithms.batch import Batch, Pairs
from assent.config import Settings

_LARGEST_EXACT_TIE = 10

N = TypeVar("N", float, Tensor)


class ScoreSettings(Settings):
    """What the losses of a reward model on comparisons share."""

    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that a comparison is labelled the wrong way round."""
    centre: float = Field(default=0.001, ge=0.0)
    """Coefficient of the penalty on (chosen + rejected)^2 that keeps rewards centred on zero."""


Outcomes = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of the gap [P] first - second: log P(first is called better) [P], and log P(the two are called equal) [P]."""


def half(gap: Tensor) -> tuple[Tensor, Tensor]:
    """Bradley-Terry, a tie being half a win each way: the mean of the two log-probabilities, not one of its own."""
    win = F.logsigmoid(gap)
    return win, 0.5 * (win + F.logsigmoid(-gap))


def davidson(gap: Tensor, nu: float) -> tuple[Tensor, Tensor]:
    """Davidson 1970 (J. Am. Stat. Assoc. 65, 317-328): win : tie : loss = pi_i : nu sqrt(pi_i pi_j) : pi_j.

    Equal answers tie with probability nu / (2 + nu).
    """
    outcomes = torch.stack([0.5 * gap, torch.full_like(gap, log(nu)), -0.5 * gap], -1).log_softmax(-1)
    return outcomes[..., 0], outcomes[..., 1]


def rao_kupper(gap: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """Rao and Kupper 1967 (J. Am. Stat. Assoc. 62, 194-204): P(win) = pi_i / (pi_i + theta pi_j), the rest is ties.

    A difference below log(theta) is not perceived.  Equal answers tie with probability (theta - 1) / (theta + 1).
    """
    win, loss = F.logsigmoid(gap - log(theta)), F.logsigmoid(-gap - log(theta))
    return win, log(theta * theta - 1.0) + win + loss


def sureness(confidence: N, smoothing: float) -> N:
    """The probability that a label is right: of an annotator's ``confidence``, and flipped by neither or by both."""
    return confidence * (1.0 - smoothing) + (1.0 - confidence) * smoothing


def comparison_loss(gap: Tensor, pairs: Pairs, outcomes: Outcomes, smoothing: float, margin: float) -> Tensor:
    """-log P of what was said of each pair [P], by the ``gap`` [P] chosen - rejected.

    With c the sureness of a label and m its margin times ``margin``: a decided pair is c parts chosen above rejected,
    and 1 - c parts rejected above chosen, each by m; a tie is c parts a tie, and 1 - c parts a win, half each way.  A
    label of c = 1/2 says nothing, and leaves both answers equal, whatever its margin.
    """
    sure, by = sureness(pairs.confidence, smoothing).to(gap.dtype), margin * pairs.margins.to(gap.dtype)
    chosen, tie = outcomes(gap - by)  # in a tie, the margin is 0
    rejected, _ = outcomes(-gap - by)
    decided = sure * chosen + (1.0 - sure) * rejected
    return -torch.where(pairs.ties, sure * tie + (1.0 - sure) * 0.5 * (chosen + rejected), decided)


class Ranked(NamedTuple):
    """One ranking of a batch."""

    rows: Sequence[int]
    ranks: Sequence[int]
    """How many of the rows stand above each: 0 is best, ties share a rank."""
    head: int
    sure: float
    """Mean confidence of its pairs."""
    weight: float
    """Sum of the weights of its pairs: 1 where none of the C(K, 2) pairs of K answers is missing."""


def rankings_of(batch: Batch) -> list[Ranked]:
    """The rankings behind the pairs, one per group that has pairs, in the order of the groups' numbers.

    A row's rank is how many rows of its group were put above it.  Rows in no pair belong to no ranking.
    """
    pairs, found = batch.pairs, dict[int, list[int]]()
    for place, group in enumerate(_plain(batch.groups[pairs.chosen])):
        found.setdefault(group, []).append(place)
    rows, ties, heads = _plain(pairs.rows), _plain(pairs.ties), _plain(pairs.heads)
    sure, weights = _plain(pairs.confidence), _plain(pairs.weights)
    out: list[Ranked] = []
    for _, places in sorted(found.items()):
        above = {row: 0 for place in places for row in rows[place]}
        for place in places:
            above[rows[place][1]] += not ties[place]
        mean = sum(sure[place] for place in places) / len(places)
        whole = sum(weights[place] for place in places)
        out.append(Ranked(list(above), list(above.values()), heads[places[0]], mean, whole))
    return out


def _plain(tensor: Any) -> list[Any]:
    return tensor.tolist()


class _Draw(NamedTuple):
    """One term of a ranking's -log P: weight * (log of the sum of share * exp(score) over rows - mean of ``best``)."""

    weight: float
    rows: Sequence[int]
    shares: Sequence[float]
    best: Sequence[int]


def plackett_luce_loss(scores: Tensor, rankings: Sequence[Ranked], depth: int | None, smoothing: float) -> Tensor:
    """-log prod_i exp(s_i) / sum_{j at i or below} exp(s_j) of each ranking [G] (Luce 1959; Plackett 1975).

    ``scores`` [B, H].  The best is drawn from all by softmax, the next from the rest, and so on for the first ``depth``
    places (``None``: all).  Ties: the mean of -log P over all orders of the tied answers, which for two tied answers is
    half a win each way.  Sureness: an annotator who is right of a pair with probability c gave this order with
    probability 2c - 1, and otherwise any order, each as likely; below c = 1/2 the order counts for nothing.
    """
    if not rankings:
        return scores.new_zeros(0)
    draws: list[_Draw] = []
    owner: list[int] = []
    for place, ranking in enumerate(rankings):
        meant = max(0.0, 2.0 * sureness(ranking.sure, smoothing) - 1.0)
        for share, ranks in ((meant, ranking.ranks), (1.0 - meant, [0] * len(ranking.ranks))):
            if share > 0.0:
                draws += [d._replace(weight=share * d.weight) for d in _draws(ranking.rows, ranks, depth)]
                owner += [place] * (len(draws) - len(owner))
    heads = torch.tensor([rankings[place].head for place in owner], device=scores.device)[:, None]
    of_rows, shares = _padded([(d.rows, d.shares) for d in draws], scores)
    best, equal = _padded([(d.best, [1.0 / len(d.best)] * len(d.best)) for d in draws], scores)
    terms = torch.logsumexp(scores[of_rows, heads] + shares.log(), 1) - (scores[best, heads] * equal).sum(1)
    weighted = terms * terms.new_tensor([draw.weight for draw in draws])
    return terms.new_zeros(len(rankings)).index_add(0, torch.tensor(owner, device=scores.device), weighted)


def _draws(rows: Sequence[int], ranks: Sequence[int], depth: int | None) -> list[_Draw]:
    """What a ranking says, place by place.  In the mean over the orders of m tied answers, each subset of size k is as
    likely as another to be what is left of them: 1 / C(m, k).  Over ten tied answers these subsets are too many; then
    each answer counts k / m (Efron 1977, J. Am. Stat. Assoc. 72, 557-565), an upper bound by Jensen's inequality.
    """
    last = min(len(rows) - 1, len(rows) if depth is None else depth)  # the only one left is drawn with certainty
    out: list[_Draw] = []
    place = 0
    for rank in sorted(set(ranks)):
        tied = [row for row, its in zip(rows, ranks, strict=True) if its == rank]
        below = [row for row, its in zip(rows, ranks, strict=True) if its > rank]
        for left in range(len(tied), max(0, len(tied) - max(0, last - place)), -1):
            if len(tied) > _LARGEST_EXACT_TIE:
                shares = [left / len(tied)] * len(tied) + [1.0] * len(below)
                out.append(_Draw(1.0, [*tied, *below], shares, tied))
            else:
                weight = 1.0 / comb(len(tied), left)
                sets = ([*some, *below] for some in combinations(tied, left))
                out += [_Draw(weight, one, [1.0] * len(one), tied) for one in sets]
        place += len(tied)
    return out


def _padded(items: Sequence[tuple[Sequence[int], Sequence[float]]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [D, K] and their shares [D, K], 0 on padding."""
    width = max(len(rows) for rows, _ in items)
    rows = [[*rows, *[0] * (width - len(rows))] for rows, _ in items]
    shares = [[*shares, *[0.0] * (width - len(shares))] for _, shares in items]
    return torch.tensor(rows, device=like.device), like.new_tensor(shares)


def score_figures(scores: Tensor, pairs: Pairs) -> Mapping[str, Mean]:
    """How well scores [B, H] order the pairs: accuracy (an equal score counts half), margin and mean score."""
    chosen, rejected = scores[pairs.chosen, pairs.heads], scores[pairs.rejected, pairs.heads]
    gap = chosen - rejected
    right = (gap > 0).to(gap.dtype) + 0.5 * (gap == 0).to(gap.dtype)
    return {
        "accuracy": masked_mean(right, pairs.decided),
        "margin": masked_mean(gap, pairs.decided),
        "score_mean": masked_mean(0.5 * (chosen + rejected), pairs.weights),
    }
