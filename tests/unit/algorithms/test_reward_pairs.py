"""Models of ties, margins, confidence and heads of the pairwise reward loss, against formulas worked out by hand."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.rankings import Outcomes, comparison_loss, davidson, half, rao_kupper, score_figures
from assent.algorithms.reward_model import ALGORITHM, TIES, RewardModelSettings, loss, weights
from assent.testing.algorithm import check_algorithm
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)
GAPS = torch.tensor([-30.0, -2.0, 0.0, 0.7, 5.0], dtype=torch.float64)


def pairs_of(rows: list[tuple[int, int]], **given: list[Any]) -> Pairs:
    made = replace(Pairs.of(torch.tensor(rows)), **{name: torch.tensor(value) for name, value in given.items()})
    exact = {
        name: torch.tensor(given[name], dtype=torch.float64) for name in ("margins", "confidence") if name in given
    }
    return replace(made.to(torch.float64), **exact)


def total(scores: torch.Tensor, pairs: Pairs, **settings: Any) -> torch.Tensor:
    mask = torch.ones(len(scores), 1, dtype=torch.bool)
    batch = Batch(torch.zeros(len(scores), 1, dtype=torch.long), mask, mask, torch.zeros(len(scores)).long(), pairs)
    given = RewardModelSettings(**{"centre": 0.0, **settings})
    found, parts = loss(Outputs(NONE, NONE, NONE, scores), batch, given), weights(batch, given)
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    "outcomes",
    [
        partial(davidson, nu=0.4),
        partial(davidson, nu=3.0),
        partial(rao_kupper, theta=1.1),
        partial(rao_kupper, theta=4),
    ],
)
def test_win_tie_and_loss_sum_to_one(outcomes: Outcomes):
    win, tie = (x.exp() for x in outcomes(GAPS))
    lost = outcomes(-GAPS)[0].exp()
    torch.testing.assert_close(win + tie + lost, torch.ones_like(GAPS), rtol=0, atol=1e-12)
    torch.testing.assert_close(tie, outcomes(-GAPS)[1].exp(), rtol=0, atol=1e-15)
    assert bool((win.diff() > 0).all())
    assert int(tie.argmax()) == 2  # ties are likeliest between equals


def test_davidson_and_rao_kupper_by_their_papers_formulas():
    """With pi = (3, 2)."""
    gap = torch.tensor([math.log(3 / 2)], dtype=torch.float64)
    win, tie = (float(x.exp()) for x in davidson(gap, 0.5))
    below = 3 + 2 + 0.5 * math.sqrt(6)
    assert (win, tie) == pytest.approx((3 / below, 0.5 * math.sqrt(6) / below))
    win, tie = (float(x.exp()) for x in rao_kupper(gap, 1.5))
    assert (win, tie) == pytest.approx((3 / (3 + 1.5 * 2), (1.5**2 - 1) * 6 / ((3 + 1.5 * 2) * (1.5 * 3 + 2))))


def test_the_share_of_ties_between_equals_is_what_the_settings_say():
    equal = torch.zeros(1, dtype=torch.float64)
    assert float(davidson(equal, 1.0)[1].exp()) == pytest.approx(1 / 3)
    assert float(davidson(equal, 0.5)[1].exp()) == pytest.approx(0.5 / 2.5)
    assert float(rao_kupper(equal, 2.0)[1].exp()) == pytest.approx(1 / 3)
    assert float(rao_kupper(equal, 1.5)[1].exp()) == pytest.approx(0.5 / 2.5)


@pytest.mark.parametrize("outcomes", [half, partial(davidson, nu=1e-12), partial(rao_kupper, theta=1 + 1e-12)])
def test_without_ties_every_model_is_bradley_terry(outcomes: Outcomes):
    torch.testing.assert_close(outcomes(GAPS)[0], torch.nn.functional.logsigmoid(GAPS), rtol=0, atol=1e-10)


def test_margins_are_llama_2s():
    """arXiv:2307.09288, eq. 2: -log sigmoid(r_chosen - r_rejected - m)."""
    scores = torch.tensor([[1.0], [0.2], [-0.5]], dtype=torch.float64)
    pairs = pairs_of([(0, 1), (2, 0)], margins=[1.0, 3.0])
    want = (-math.log(sigmoid(0.8 - 0.5)) - math.log(sigmoid(-1.5 - 1.5))) / 2
    assert float(total(scores, pairs, margin=0.5)) == pytest.approx(want, abs=1e-12)
    without = (-math.log(sigmoid(0.8)) - math.log(sigmoid(-1.5))) / 2
    assert float(total(scores, pairs)) == pytest.approx(without, abs=1e-12)


@pytest.mark.parametrize("ties", TIES)
def test_confidence_and_smoothing_make_soft_labels_in_every_model(ties: Any):
    """A label right with probability c, flipped with e: c' = c (1 - e) + (1 - c) e of it, and 1 - c' of its reverse."""
    gap, by = 0.9, 0.25 * 2.0
    scores = torch.tensor([[gap], [0.0]], dtype=torch.float64)
    pairs = pairs_of([(0, 1), (1, 0)], confidence=[0.8, 0.6], margins=[2.0, 0.0], ties=[False, True])
    outcomes = TIES[ties](RewardModelSettings())

    def win(x: float) -> float:
        return float(outcomes(torch.tensor(x, dtype=torch.float64))[0])

    first, second = 0.8 * 0.9 + 0.2 * 0.1, 0.6 * 0.9 + 0.4 * 0.1
    decided = first * win(gap - by) + (1 - first) * win(-gap - by)
    tied = second * float(outcomes(torch.tensor(-gap, dtype=torch.float64))[1])
    tied += (1 - second) * 0.5 * (win(gap) + win(-gap))
    found = total(scores, pairs, label_smoothing=0.1, margin=0.25, ties=ties)
    assert float(found) == pytest.approx(-(decided + tied) / 2, abs=1e-12)


@pytest.mark.parametrize("ties", TIES)
def test_a_label_that_may_as_well_be_wrong_asks_for_equal_scores(ties: Any):
    gap = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    pairs = pairs_of([(0, 1)], confidence=[0.5], margins=[3.0])
    comparison_loss(gap, pairs, TIES[ties](RewardModelSettings()), 0.0, 1.0).sum().backward()
    assert gap.grad is not None
    assert float(gap.grad) == pytest.approx(0.0, abs=1e-12)


def test_a_tie_pulls_together_and_a_win_apart():
    for ties in TIES:
        for tied in (True, False):
            scores = torch.tensor([[0.5], [-0.5]], dtype=torch.float64, requires_grad=True)
            total(scores, pairs_of([(0, 1)], ties=[tied]), ties=ties).backward()
            assert scores.grad is not None
            assert (float(scores.grad[0, 0]) > 0) == tied, (ties, tied)


def test_each_pair_trains_the_head_of_its_criterion_alone():
    scores = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    total(scores, pairs_of([(0, 1), (1, 2)], heads=[1, 1]), centre=0.1).backward()
    assert scores.grad is not None
    assert float(scores.grad[:, 0].abs().max()) == 0.0
    assert float(scores.grad[:, 1].abs().min()) > 0.0


@pytest.mark.parametrize("ties", TIES)
def test_the_contract_holds_with_margins_for_every_model_of_ties(ties: Any):
    check_algorithm(ALGORITHM, RewardModelSettings(ties=ties, margin=0.3, label_smoothing=0.1, centre=0.2))


def test_the_mean_score_is_that_of_both_sides_by_the_weights_of_their_pairs():
    scores = torch.tensor([[3.0], [1.0], [-2.0]], dtype=torch.float64)
    pairs = Pairs.of(torch.tensor([[0, 1], [0, 2]]), torch.tensor([1.0, 3.0], dtype=torch.float64))
    found = score_figures(scores, pairs)["score_mean"]
    assert float(found.total / found.count) == pytest.approx((1 * (3 + 1) / 2 + 3 * (3 - 2) / 2) / 4)
