"""The clipped losses, value and gradient, on both sides of the clip; preferences by hand."""

import math
from dataclasses import replace

import pytest
import torch

from assent.algorithms.batch import Pairs
from assent.algorithms.preferences import logistic_loss, soft_targets
from assent.algorithms.surrogates import (
    clipped_surrogate,
    clipped_value_loss,
    log_ratio,
    sequence_log_ratio,
    truncated_surrogate,
)


def surrogate(ratio: float, advantage: float) -> tuple[float, float, float]:
    """Term, its gradient in the log-probability, and whether it counts as clipped."""
    logprob = torch.tensor(math.log(ratio) - 1.0, dtype=torch.float64, requires_grad=True)
    old, a = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(advantage, dtype=torch.float64)
    term, clipped = clipped_surrogate(log_ratio(logprob, old), a, 0.2, 0.3)
    term.backward()
    assert logprob.grad is not None
    return float(term.detach()), float(logprob.grad), float(clipped)


@pytest.mark.parametrize(
    ("ratio", "advantage", "term", "gradient", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, 0.0),
        (1.1, 2.0, -2.2, -2.2, 0.0),
        (1.5, 2.0, -2.6, 0.0, 1.0),  # gained enough: no more
        (0.5, 2.0, -1.0, -1.0, 0.0),  # lost: may come back
        (0.5, -2.0, 1.6, 0.0, 1.0),
        (1.5, -2.0, 3.0, 3.0, 0.0),
    ],
)
def test_the_clipped_surrogate(ratio: float, advantage: float, term: float, gradient: float, clipped: float):
    assert surrogate(ratio, advantage) == pytest.approx((term, gradient, clipped), abs=1e-9)


def test_ratios_are_clamped_before_exp():
    assert log_ratio(torch.tensor([0.0, -900.0]), torch.tensor([-900.0, 0.0])).tolist() == [20.0, -20.0]
    term, _ = clipped_surrogate(log_ratio(torch.zeros(1), torch.full((1,), -900.0)), torch.tensor([-1.0]), 0.2, 0.2)
    assert float(term) == pytest.approx(math.exp(20), rel=1e-5)


def test_the_log_ratio_of_a_completion_is_a_sum_over_its_tokens():
    new = torch.tensor([[9.0, -1.0, -2.0], [9.0, -0.5, 9.0], [0.0, 0.0, 0.0]])
    old = torch.tensor([[7.0, -1.5, -1.0], [7.0, -1.0, 7.0], [-30.0, -30.0, -30.0]])
    mask = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 1]]).bool()
    assert sequence_log_ratio(new, old, mask).tolist() == [-0.5, 0.5, 20.0]
    assert sequence_log_ratio(old, new, mask).tolist() == [0.5, -0.5, -20.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "limit", "weight", "truncated"),
    [
        (1.0, 3.0, 2.0, 1.0, 0.0),
        (0.3, 3.0, 2.0, 0.3, 0.0),
        (1.9, -3.0, 2.0, 1.9, 0.0),
        (2.5, 3.0, 2.0, 2.0, 1.0),
        (50.0, -3.0, 2.0, 2.0, 1.0),
        (1.0, 3.0, 1.0, 1.0, 0.0),  # on the edge: once, not twice
        (1.2, 3.0, 1.0, 1.0, 1.0),
    ],
)
def test_the_gradient_is_the_score_function_times_the_truncated_weight(
    ratio: float, advantage: float, limit: float, weight: float, truncated: float
):
    change = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    term, held = truncated_surrogate(change, torch.tensor(advantage).double(), limit)
    term.backward()
    assert change.grad is not None
    assert (float(change.grad), float(held)) == pytest.approx((-advantage * weight, truncated), abs=1e-12)
    value = ratio if ratio < limit else limit * (1 + math.log(ratio) - math.log(limit))
    assert float(term.detach()) == pytest.approx(-advantage * value)


@pytest.mark.parametrize(
    ("value", "old", "target", "clip", "term", "gradient"),
    [
        (1.0, 0.9, 3.0, 0.2, 0.5 * 4.0, -2.0),  # within the clip
        (2.0, 1.0, 3.0, 0.2, 0.5 * 1.8**2, 0.0),  # moved past it towards the target: held
        (-1.0, -2.0, 1.0, 0.2, 0.5 * 2.8**2, 0.0),  # the same, below zero
        (0.0, 1.0, 3.0, 0.2, 0.5 * 9.0, -3.0),  # moved past it away from the target: pulled back
        (2.0, 1.0, 3.0, 0.0, 0.5, -1.0),  # no clipping
    ],
)
def test_the_clipped_value_loss(value: float, old: float, target: float, clip: float, term: float, gradient: float):
    v = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    loss = clipped_value_loss(v, torch.tensor(old).double(), torch.tensor(target).double(), clip)
    loss.backward()
    assert v.grad is not None
    assert (float(loss.detach()), float(v.grad)) == pytest.approx((term, gradient), abs=1e-7)


def test_the_logistic_loss_with_ties_and_smoothing():
    logits = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[0, 1], [0, 1], [0, 1]])
    pairs = replace(Pairs.of(rows), ties=torch.tensor([False, False, True]))

    def nll(z: float, target: float) -> float:
        p = 1 / (1 + math.exp(-z))
        return -(target * math.log(p) + (1 - target) * math.log(1 - p))

    for smoothing in (0.0, 0.1):
        want = [nll(2.0, 1 - smoothing), nll(-1.0, 1 - smoothing), nll(2.0, 0.5)]
        assert logistic_loss(logits, soft_targets(pairs, smoothing)).tolist() == pytest.approx(want, abs=1e-7)
    logistic_loss(logits, soft_targets(pairs)).sum().backward()
    assert logits.grad is not None
    sigmoid = [1 / (1 + math.exp(-z)) for z in (2.0, -1.0, 2.0)]
    assert logits.grad.tolist() == pytest.approx([sigmoid[0] - 1, sigmoid[1] - 1, sigmoid[2] - 0.5], abs=1e-12)


def test_the_logistic_loss_is_finite_far_out():
    loss = logistic_loss(torch.tensor([500.0, -500.0]), torch.tensor([1.0, 0.5]))
    assert loss.tolist() == pytest.approx([0.0, 250.0], abs=1e-4)


def test_a_doubtful_annotator_softens_the_target():
    pairs = replace(
        Pairs.of(torch.tensor([[0, 1], [0, 1], [0, 1]])),
        confidence=torch.tensor([1.0, 0.7, 0.9]),
        ties=torch.tensor([False, False, True]),
    )
    assert soft_targets(pairs).tolist() == pytest.approx([1.0, 0.7, 0.5])
    assert soft_targets(pairs, 0.1).tolist() == pytest.approx([0.9, 0.7 * 0.9 + 0.3 * 0.1, 0.5])
