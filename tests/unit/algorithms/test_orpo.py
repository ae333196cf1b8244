"""ORPO against its paper in plain Python: odds, the likelihood of the chosen answers, and the limits of the odds."""

import math
from typing import Any

import pytest
import torch

from assent.algorithms import orpo
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)
REAL = [[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1]]
LOGPROBS = [[-9.0, -0.1, -0.2, -0.6], [-9.0, -1.0, -0.5, -9.0], [-9.0, -9.0, -2.0, -0.25]]
MEANS = [-0.9 / 3, -1.5 / 2, -2.25 / 2]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def log_odds(mean: float) -> float:
    p = math.exp(mean)
    return math.log(p / (1 - p))


def batch_of(pairs: Any, weights: Any, ties: Any, confidence: Any = None) -> Batch:
    count = len(pairs)
    return Batch(
        tokens=torch.zeros(3, 4, dtype=torch.long),
        mask=torch.ones(3, 4, dtype=torch.bool),
        completion_mask=torch.tensor(REAL).bool(),
        groups=torch.zeros(3, dtype=torch.long),
        pairs=Pairs(
            rows=torch.tensor(pairs),
            weights=torch.tensor(weights, dtype=torch.float64),
            ties=torch.tensor(ties),
            margins=torch.zeros(count, dtype=torch.float64),
            confidence=torch.tensor(confidence or [1.0] * count, dtype=torch.float64),
            heads=torch.zeros(count, dtype=torch.long),
        ),
    )


def total(batch: Batch, settings: orpo.ORPOSettings, logprobs: Any = LOGPROBS) -> torch.Tensor:
    given = logprobs if isinstance(logprobs, torch.Tensor) else torch.tensor(logprobs, dtype=torch.float64)
    found, parts = orpo.loss(Outputs(given, NONE, NONE, NONE), batch, settings), orpo.weights(batch, settings)
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def test_one_pair_by_hand():
    batch = batch_of([(0, 1)], [1.0], [False])
    want = 0.9 / 3 - 0.4 * log_sigmoid(log_odds(MEANS[0]) - log_odds(MEANS[1]))
    assert float(total(batch, orpo.ORPOSettings(beta=0.4))) == pytest.approx(want, abs=1e-12)


def test_a_ranking_counts_its_best_answer_once():
    """Row 0 beats 1 and 2, which tie: two pairs won, one likelihood; the tie asks for equal odds."""
    batch = batch_of([(0, 1), (0, 2), (1, 2)], [1 / 3] * 3, [False, False, True])
    first, second, third = map(log_odds, MEANS)
    tie = -0.5 * (log_sigmoid(second - third) + log_sigmoid(third - second))
    pair = (-log_sigmoid(first - second) - log_sigmoid(first - third) + tie) / 3
    settings = orpo.ORPOSettings(beta=0.4)
    assert float(total(batch, settings)) == pytest.approx(0.9 / 3 + 0.4 * pair, abs=1e-12)
    found = orpo.loss(Outputs(torch.tensor(LOGPROBS, dtype=torch.float64), NONE, NONE, NONE), batch, settings).metrics
    figures = {name: float(mean.total / mean.count) for name, mean in found.items()}
    assert figures["loss"] == pytest.approx(pair, abs=1e-12)
    assert figures["nll"] == pytest.approx(0.9 / 3, abs=1e-12)
    assert figures["accuracy"] == 1.0
    assert figures["margin"] == pytest.approx((2 * first - second - third) / 2)
    assert figures["reward_chosen"] == pytest.approx(first)
    assert figures["reward_rejected"] == pytest.approx((second + third) / 2)
    assert figures["logprob_chosen"] == pytest.approx(-0.9)


def test_the_likelihood_is_over_tokens_of_all_chosen_answers():
    batch = batch_of([(0, 2), (1, 2)], [1.0, 1.0], [False, False])
    assert float(total(batch, orpo.ORPOSettings(beta=0.0))) == pytest.approx((0.9 + 1.5) / 5, abs=1e-12)


def test_a_tie_alone_has_no_chosen_answer():
    batch = batch_of([(0, 1)], [1.0], [True])
    gap = log_odds(MEANS[0]) - log_odds(MEANS[1])
    want = -0.5 * (log_sigmoid(gap) + log_sigmoid(-gap))
    assert float(total(batch, orpo.ORPOSettings(beta=1.0))) == pytest.approx(want, abs=1e-12)


def test_confidence_is_the_target():
    batch = batch_of([(0, 1)], [1.0], [False], [0.75])
    gap = log_odds(MEANS[0]) - log_odds(MEANS[1])
    want = 0.3 - 0.75 * log_sigmoid(gap) - 0.25 * log_sigmoid(-gap)
    assert float(total(batch, orpo.ORPOSettings(beta=1.0))) == pytest.approx(want, abs=1e-12)


def test_the_gradient_of_the_odds():
    """Hong et al. 2024, eq. 8: d log odds / d log P is 1 / (1 - P), spread over the completion's tokens."""
    batch, settings = batch_of([(0, 1)], [1.0], [False]), orpo.ORPOSettings(beta=0.4)
    leaf = torch.tensor(LOGPROBS, dtype=torch.float64, requires_grad=True)
    total(batch, settings, leaf).backward()
    gap = log_odds(MEANS[0]) - log_odds(MEANS[1])
    pull = 0.4 / (1 + math.exp(gap))
    chosen = -1 / 3 - pull / (1 - math.exp(MEANS[0])) / 3
    rejected = pull / (1 - math.exp(MEANS[1])) / 2
    want = torch.tensor([[0, chosen, chosen, chosen], [0, rejected, rejected, 0], [0] * 4], dtype=torch.float64)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, want, rtol=0, atol=1e-12)


def test_it_falls_when_the_chosen_logprob_rises():
    batch, settings = batch_of([(0, 1)], [1.0], [False]), orpo.ORPOSettings()
    raised = [[x + 0.05 for x in LOGPROBS[0]], *LOGPROBS[1:]]
    assert float(total(batch, settings, raised)) < float(total(batch, settings)) - 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_odds_stay_finite_at_certainty_and_at_impossibility(dtype: torch.dtype):
    means = torch.tensor([0.0, -1e-9, -1e-3, -0.5, -700.0], dtype=dtype, requires_grad=True)
    odds = orpo.log_odds(means)
    odds.sum().backward()
    assert means.grad is not None
    assert bool(torch.isfinite(means.grad).all())
    assert odds[0].item() == odds[1].item() == pytest.approx(-math.log(1e-6), rel=1e-3)
    assert odds[2].item() == pytest.approx(log_odds(-1e-3), rel=1e-4)
    assert odds[3].item() == pytest.approx(log_odds(-0.5), rel=1e-5)
    assert odds[4].item() == -700.0
