"""Inverse RL: its terms by hand; and on a bandit the learned reward's optimal policy is the demonstrator."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.inverse_rl import ALGORITHM, InverseRLSettings, loss, weights
from assent.testing.algorithm import check_algorithm
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)


def make_batch(rows: int, pairs: Any, pair_weights: Any, ties: Any = None) -> Batch:
    every = torch.ones(rows, 1, dtype=torch.bool)
    made = Pairs.of(torch.tensor(pairs), torch.tensor(pair_weights, dtype=torch.float64))
    return Batch(
        tokens=torch.zeros(rows, 1, dtype=torch.long),
        mask=every,
        completion_mask=every,
        groups=torch.zeros(rows, dtype=torch.long),
        pairs=made if ties is None else replace(made, ties=torch.tensor(ties)),
    )


def reduced(scores: torch.Tensor, batch: Batch, settings: InverseRLSettings) -> torch.Tensor:
    found, parts = loss(Outputs(NONE, NONE, NONE, scores[:, None]), batch, settings), weights(batch, settings)
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


S = [0.7, -0.4, 1.5, 0.2, -1.1]
"""Row 0 is a demonstration with samples 1 and 2; row 3 is one with sample 4, and with row 1 in a tie."""
BATCH = make_batch(5, [(0, 1), (0, 2), (3, 4), (3, 1)], [0.5, 0.5, 1.0, 7.0], [False, False, False, True])
CENTRE = 0.1 * ((0.3**2 + 2.2**2) / 2 + 0.9**2) / 2
WANTED = {
    # one demonstration counts as much as its two samples do together; each side has a denominator of its own
    "adversarial": (softplus(-0.7) + softplus(-0.2)) / 2 + ((softplus(-0.4) + softplus(1.5)) / 2 + softplus(-1.1)) / 2,
    "maximum-entropy": (
        (-0.7 + math.log(math.exp(0.7) + math.exp(-0.4) + math.exp(1.5)))
        + (-0.2 + math.log(math.exp(0.2) + math.exp(-1.1)))
    )
    / 2,
}


@pytest.mark.parametrize("objective", WANTED)
def test_the_loss_by_hand(objective: Any):
    scores = torch.tensor(S, dtype=torch.float64)
    settings = InverseRLSettings(objective=objective, centre=0.1)
    assert float(reduced(scores, BATCH, settings)) == pytest.approx(WANTED[objective] + CENTRE, abs=1e-12)
    metrics = loss(Outputs(NONE, NONE, NONE, scores[:, None]), BATCH, settings).metrics
    figures = {name: float(mean.total / mean.count) for name, mean in metrics.items()}
    assert figures == pytest.approx(
        {
            "loss": WANTED[objective],
            "accuracy": (0.5 * 1 + 0.5 * 0 + 1) / 2,
            "margin": ((1.1 - 0.8) / 2 + 1.3) / 2,
            "score_demonstration": (0.7 + 0.2) / 2,
            "score_sample": ((-0.4 + 1.5) / 2 - 1.1) / 2,
        }
    )


def test_one_sample_of_maximum_entropy_is_bradley_terry():
    batch = make_batch(2, [(0, 1)], [1.0])
    settings = InverseRLSettings(objective="maximum-entropy", centre=0.0)
    assert float(reduced(torch.tensor([0.3, 1.0]).double(), batch, settings)) == pytest.approx(softplus(0.7))


def test_equal_scores_are_half_right():
    found = loss(Outputs(NONE, NONE, NONE, torch.ones(5, 1)), BATCH, InverseRLSettings())
    assert float(found.metrics["accuracy"].total / found.metrics["accuracy"].count) == 0.5


def test_scores_far_apart_stay_finite():
    settings = InverseRLSettings(objective="maximum-entropy", centre=0.0)
    for far in (-1e4, 1e4):
        scores = torch.tensor([far, 0.0, far, 0.0, far], requires_grad=True)
        total = reduced(scores, BATCH, settings)
        total.backward()
        assert scores.grad is not None
        assert torch.isfinite(total)
        assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("objective", WANTED)
def test_both_objectives_keep_the_contract(objective: Any):
    check_algorithm(ALGORITHM, InverseRLSettings(objective=objective, centre=0.2))


DATA = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
POLICY = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)


def every_draw(samples: int) -> Batch:
    """Each demonstration with each tuple of samples, weighed by its probability, as groups of rows of their own.

    Samples that equal the demonstration are in, so that this is the expectation that the formulas speak of.  Row
    ``i`` stands for answer ``ROWS[i]``.
    """
    rows: list[int] = []
    pairs: list[tuple[int, int]] = []
    each: list[float] = []
    for shown, *drawn in itertools.product(range(3), repeat=1 + samples):
        start = len(rows)
        rows += [shown, *drawn]
        chance = float(DATA[shown] * POLICY[drawn].prod())
        pairs += [(start, start + 1 + k) for k in range(samples)]
        each += [chance / samples] * samples
    return replace(make_batch(len(rows), pairs, each), tokens=torch.tensor(rows)[:, None])


def fitted(batch: Batch, settings: InverseRLSettings) -> torch.Tensor:
    """The table of rewards [3] of least loss."""
    table = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=300, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimizer.zero_grad()
        total = reduced(table[batch.tokens[:, 0]], batch, settings)
        total.backward()
        return total

    optimizer.step(closure)
    return table.detach()


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("objective", WANTED)
def test_the_rewards_optimal_policy_is_the_demonstrator(objective: Any, samples: int):
    """Least at r = log(data / policy) for any number of samples, so that policy * exp(r) is the data."""
    reward = fitted(every_draw(samples), InverseRLSettings(objective=objective, centre=0.0))
    best = torch.softmax(POLICY.log() + reward, 0)
    torch.testing.assert_close(best, DATA, rtol=0, atol=1e-6)
    assert (DATA - POLICY).abs().max() > 0.3
    if objective == "adversarial":  # which leaves no constant free
        torch.testing.assert_close(reward, (DATA / POLICY).log(), rtol=0, atol=1e-6)


def test_nothing_is_learned_where_the_policy_is_the_demonstrator():
    batch = make_batch(6, list(itertools.permutations(range(3), 2)), [1.0] * 6)
    pairs = [float(DATA[a] * DATA[b]) for a, b in itertools.permutations(range(3), 2)]
    batch = replace(batch, pairs=replace(batch.pairs, weights=torch.tensor(pairs, dtype=torch.float64)))
    scores = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    reduced(scores, batch, InverseRLSettings()).backward()
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-12


def test_the_penalty_fixes_the_constant_that_maximum_entropy_leaves_free():
    settings = InverseRLSettings(objective="maximum-entropy", centre=1e-4)
    reward = fitted(every_draw(1), settings)
    apart = reward - (DATA / POLICY).log()
    assert float(apart.max() - apart.min()) < 5e-3
    mean = float(((DATA + POLICY) / 2 * reward).sum())  # of demonstrations and samples alike
    assert abs(mean) < 5e-3
