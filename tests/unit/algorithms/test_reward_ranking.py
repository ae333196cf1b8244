"""Plackett-Luce against enumeration over all orders, softmax cross-entropy and Bradley-Terry."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any

import pytest
import torch

from assent.algorithms import rankings as module
from assent.algorithms import reward_model
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.rankings import Ranked, plackett_luce_loss, rankings_of
from assent.algorithms.reward_ranking import ALGORITHM, RewardRankingSettings, loss, weights
from assent.testing.algorithm import check_algorithm
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)
SCORES = torch.tensor([0.3, -1.2, 0.9, 2.0, -0.4], dtype=torch.float64)


def nll(scores: torch.Tensor, ranks: Sequence[int], depth: int | None = None, sure: float = 1.0) -> float:
    ranked = Ranked(range(len(ranks)), ranks, 0, sure, 1.0)
    return float(plackett_luce_loss(scores[:, None], [ranked], depth, 0.0)[0])


def order_nll(scores: torch.Tensor, order: Sequence[int], depth: int | None = None) -> float:
    """-log of the product of draws without replacement, as it is written in the books."""
    strength, total = scores.exp().tolist(), 0.0
    for place in range(len(order) if depth is None else depth):
        total -= math.log(strength[order[place]] / sum(strength[i] for i in order[place:]))
    return total


def orders_of(ranks: Sequence[int]) -> list[tuple[int, ...]]:
    """The orders that break the ties of ``ranks``."""
    every = permutations(range(len(ranks)))
    return [o for o in every if all(ranks[a] <= ranks[b] for a, b in pairwise(o))]


def batch_of(ranks: Sequence[Sequence[int]], confidence: float = 1.0, head: int = 0) -> Batch:
    """All pairs of each ranking, in groups of their own, 1 / C(K, 2) each."""
    rows: list[tuple[int, int]] = []
    ties: list[bool] = []
    shares: list[float] = []
    start = 0
    for own in ranks:
        for a in range(len(own)):
            for b in range(a + 1, len(own)):
                better, worse = (a, b) if own[a] <= own[b] else (b, a)
                rows.append((start + better, start + worse))
                ties.append(own[a] == own[b])
                shares.append(1 / math.comb(len(own), 2))
        start += len(own)
    made = Pairs.of(torch.tensor(rows), torch.tensor(shares)).to(torch.float64)
    made = replace(
        made,
        weights=torch.tensor(shares, dtype=torch.float64),
        ties=torch.tensor(ties),
        confidence=torch.full_like(made.confidence, confidence),
        heads=torch.full_like(made.heads, head),
    )
    mask = torch.ones(start, 1, dtype=torch.bool)
    groups = torch.cat([torch.full((len(own),), g) for g, own in enumerate(ranks)])
    return Batch(torch.zeros(start, 1, dtype=torch.long), mask, mask, groups, made)


def total(scores: torch.Tensor, batch: Batch, **settings: Any) -> torch.Tensor:
    given = RewardRankingSettings(**{"centre": 0.0, **settings})
    found, parts = loss(Outputs(NONE, NONE, NONE, scores), batch, given), weights(batch, given)
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def test_the_six_orders_of_three_are_the_books_and_sum_to_one():
    whole = 0.0
    for order in permutations(range(3)):
        ranks = [order.index(i) for i in range(3)]
        found = nll(SCORES[:3], ranks)
        assert found == pytest.approx(order_nll(SCORES[:3], order), abs=1e-12)
        whole += math.exp(-found)
    assert whole == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("ranks", [(0, 0, 2), (0, 1, 1), (0, 0, 0), (2, 0, 0, 2, 2), (0, 1, 1, 4, 1), (0, 0, 0, 0, 4)])
@pytest.mark.parametrize("depth", [None, 1, 2, 3])
def test_ties_are_the_mean_over_the_orders_that_break_them(ranks: tuple[int, ...], depth: int | None):
    scores = SCORES[: len(ranks)]
    each = [order_nll(scores, order, depth) for order in orders_of(ranks)]
    assert len(each) > 1
    assert nll(scores, ranks, depth) == pytest.approx(sum(each) / len(each), abs=1e-12)


def test_depth_one_is_softmax_cross_entropy_of_the_best():
    want = torch.nn.functional.cross_entropy(SCORES, torch.tensor(3))
    assert nll(SCORES, [1, 4, 3, 0, 2], depth=1) == pytest.approx(float(want), abs=1e-12)
    both = torch.nn.functional.cross_entropy(SCORES, torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).double())
    assert nll(SCORES, [2, 0, 2, 0, 2], depth=1) == pytest.approx(float(both), abs=1e-12)


def test_a_depth_beyond_the_ranking_is_the_full_ranking():
    assert nll(SCORES, [1, 4, 3, 0, 2], depth=9) == nll(SCORES, [1, 4, 3, 0, 2])


@pytest.mark.parametrize("ranks", [(0, 1), (0, 0)])
@pytest.mark.parametrize(("confidence", "smoothing"), [(1.0, 0.0), (0.7, 0.0), (0.9, 0.2)])
def test_of_two_it_is_bradley_terry(ranks: tuple[int, int], confidence: float, smoothing: float):
    scores, batch = SCORES[:2, None], batch_of([ranks], confidence)
    found = total(scores, batch, label_smoothing=smoothing, centre=0.3)
    settings = reward_model.RewardModelSettings(label_smoothing=smoothing, centre=0.3)
    pairwise = reward_model.loss(Outputs(NONE, NONE, NONE, scores), batch, settings)
    want = pairwise.terms["pair"][0] + 0.3 * pairwise.terms["centre"][0]
    assert float(found) == pytest.approx(float(want), abs=1e-12)


def test_an_unsure_order_is_part_that_order_and_part_any():
    """Right of a pair with probability 0.8: this order with probability 0.6, else one of the six, each as likely."""
    every = [order_nll(SCORES[:3], order) for order in permutations(range(3))]
    want = 0.6 * order_nll(SCORES[:3], (2, 0, 1)) + 0.4 * sum(every) / 6
    assert nll(SCORES[:3], [1, 2, 0], sure=0.8) == pytest.approx(want, abs=1e-12)
    nothing = sum(every) / 6
    assert nll(SCORES[:3], [1, 2, 0], sure=0.3) == pytest.approx(nothing, abs=1e-12)  # worse than chance: no order


def test_ranks_weights_and_heads_come_back_from_the_pairs():
    batch = batch_of([(3, 1, 2, 2), (1, 2)], confidence=0.9, head=1)
    first, second = rankings_of(batch)
    assert dict(zip(first.rows, first.ranks, strict=True)) == {0: 3, 1: 0, 2: 1, 3: 1}
    assert dict(zip(second.rows, second.ranks, strict=True)) == {4: 0, 5: 1}
    assert (first.weight, second.weight) == pytest.approx((1.0, 1.0))
    assert (first.head, first.sure) == (1, pytest.approx(0.9))


def test_rankings_weigh_one_each_and_rows_in_no_pair_nothing():
    batch = batch_of([(1, 2, 3), (1, 2)])
    lonely = replace(
        batch,
        tokens=torch.zeros(6, 1, dtype=torch.long),
        mask=torch.ones(6, 1, dtype=torch.bool),
        completion_mask=torch.ones(6, 1, dtype=torch.bool),
        groups=torch.cat([batch.groups, torch.tensor([7])]),
    )
    scores = torch.cat([SCORES, torch.tensor([50.0]).double()])[:, None].requires_grad_()
    found = total(scores, lonely)
    want = (order_nll(SCORES[:3], (0, 1, 2)) + order_nll(SCORES[3:], (0, 1))) / 2
    assert float(found.detach()) == pytest.approx(want, abs=1e-12)
    found.backward()
    assert scores.grad is not None
    assert float(scores.grad[5]) == 0.0


def test_each_ranking_trains_the_head_of_its_criterion_alone():
    scores = torch.stack([SCORES[:3], SCORES[2:]], 1).requires_grad_()
    found = total(scores, batch_of([(1, 2, 3)], head=1))
    assert float(found.detach()) == pytest.approx(order_nll(SCORES[2:], (0, 1, 2)), abs=1e-12)
    found.backward()
    assert scores.grad is not None
    assert float(scores.grad[:, 0].abs().max()) == 0.0
    assert float(scores.grad[:, 1].abs().min()) > 1e-3


def test_large_ties_are_efrons_bound(monkeypatch: pytest.MonkeyPatch):
    """Each of m tied answers counts k / m in the k-th last draw from them; no less than the mean over the orders."""
    exact = nll(SCORES, [0, 1, 1, 1, 4])
    monkeypatch.setattr(module, "_LARGEST_EXACT_TIE", 2)
    found = nll(SCORES, [0, 1, 1, 1, 4])
    strength = SCORES.exp().tolist()
    tied, last = sum(strength[1:4]), strength[4]
    want = math.log(sum(strength)) + sum(math.log(k / 3 * tied + last) for k in (3, 2, 1))
    want -= float(SCORES[:4].sum())
    assert found == pytest.approx(want, abs=1e-12)
    assert exact < found < exact + 0.5
    many = torch.linspace(-1, 1, 40, dtype=torch.float64)
    assert math.isfinite(nll(many, [0] + [1] * 39))


def test_without_pairs_there_is_nothing_to_learn():
    batch = replace(batch_of([(1, 2)]), pairs=Pairs.none())
    assert weights(batch, RewardRankingSettings())["ranking"].count == 0
    found = loss(Outputs(NONE, NONE, NONE, SCORES[:2, None]), batch, RewardRankingSettings())
    assert found.terms["ranking"].shape == (0,)


@pytest.mark.parametrize("depth", [1, 2, None])
def test_the_contract_holds_for_other_settings(depth: int | None):
    check_algorithm(ALGORITHM, RewardRankingSettings(depth=depth, label_smoothing=0.1, centre=0.3))
