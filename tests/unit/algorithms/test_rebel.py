"""REBEL: its terms by hand, and repeated exact fits on a bandit reach the optimum of the regularised objective."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.rebel import REBELSettings, initial_state, loss, prepare, weights
from assent.training.reduce import reduce_loss


def rollouts() -> Batch:
    """A prompt with three completions of one or two tokens, and one with two of one token."""
    completion = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 0]]).bool()
    mask = completion.clone()
    mask[:, 0] = True
    return Batch(
        tokens=torch.tensor([[1, 2, 3], [1, 4, 0], [1, 5, 6], [2, 3, 0], [2, 4, 0]]),
        mask=mask,
        completion_mask=completion,
        groups=torch.tensor([0, 0, 0, 1, 1]),
        pairs=Pairs.none(),
        columns={
            "old_logprobs": torch.tensor([[5, -1.0, -0.5], [5, -2.0, 9], [5, -1.5, -1.0], [5, -1.0, 9], [5, -1.0, 9]]),
            "ref_logprobs": torch.tensor([[0, -1.5, -1.0], [0, -1.0, 7], [0, -1.5, -1.0], [0, -1.0, 7], [0, -3.0, 7]]),
            "scores": torch.tensor([1.0, 3.0, 2.0, 0.5, 0.5]),
            "ended": torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]),
        },
    )


def prepared(**given: Any) -> tuple[Batch, Any, Any]:
    settings = REBELSettings(**given)
    return prepare(rollouts(), settings, initial_state(settings))


def test_rewards_are_scores_less_the_penalty_of_the_whole_completion():
    # k1 of the sequences: 0.5 + 0.5; -1; 0; 0; 2.  r = 1 - 0.1, 3 + 0.1, 2; and 0.5, 0.5 - 0.2.
    batch, state, figures = prepared(kl_coefficient=0.1)
    assert batch.pairs.rows.tolist() == [[1, 0], [1, 2], [2, 0], [3, 4]]
    assert batch.pairs.margins.tolist() == pytest.approx([2.2, 1.1, 1.1, 0.2], abs=1e-6)
    assert batch.pairs.weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])
    assert figures["reward_gap"] == pytest.approx(((2.2 + 1.1 + 1.1) / 3 + 0.2) / 2, abs=1e-6)
    assert figures["kl"] == pytest.approx((1 - 1 + 0 + 0 + 2) / 5)
    assert figures["kl_coefficient"] == state["kl_coefficient"] == 0.1
    assert figures["reward_mean"] == pytest.approx(7 / 5)


def test_a_completion_that_was_cut_off_loses_the_penalty():
    batch, _, _ = prepared(kl_coefficient=0.0, missing_eos_penalty=1.5)  # 1, 3, 0.5
    assert batch.pairs.rows.tolist() == [[0, 2], [1, 0], [1, 2], [3, 4]]
    assert batch.pairs.margins.tolist() == pytest.approx([0.5, 2.0, 2.5, 0.0])


def test_the_coefficient_adapts_for_the_next_batch():
    _, state, figures = prepared(kl_coefficient=0.1, kl_target=0.1, kl_horizon=20.0)
    assert figures["kl_coefficient"] == 0.1
    assert state["kl_coefficient"] == pytest.approx(0.1 * (1 + 0.2 * 5 / 20))  # kl 0.4 over target 0.1: e = 0.2


def outputs_of(logprobs: torch.Tensor) -> Outputs:
    none = torch.zeros(0)
    return Outputs(logprobs=logprobs, entropy=none, values=none, scores=none)


def test_the_loss_by_hand():
    settings = REBELSettings(eta=0.5, kl_coefficient=0.1)
    batch, _, _ = prepare(rollouts(), settings, initial_state(settings))
    moved = batch["old_logprobs"] + torch.tensor([[3, 0.1, 0.2], [3, 0.4, 3], [3, -0.1, 0.0], [3, 0.0, 3], [3, 0.5, 3]])
    found = loss(outputs_of(moved), batch, settings)
    # d = change / eta: 0.6, 0.8, -0.2; and 0, 1.
    want = [(0.2 - 2.2) ** 2, (1.0 - 1.1) ** 2, (-0.8 - 1.1) ** 2, (-1.0 - 0.2) ** 2]
    assert found.terms["pair"].tolist() == pytest.approx(want, abs=1e-5)
    parts = weights(batch, settings)
    total = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    assert float(total) == pytest.approx((sum(want[:3]) / 3 + want[3]) / 2, abs=1e-5)
    means = {name: float(mean.total / mean.count) for name, mean in found.metrics.items()}
    assert means["loss"] == pytest.approx(float(total), abs=1e-5)
    assert means["policy_gap"] == pytest.approx(((0.2 + 1.0 - 0.8) / 3 - 1.0) / 2, abs=1e-5)
    changes = [0.1, 0.2, 0.4, -0.1, 0.0, 0.0, 0.5]
    assert means["approximate_kl"] == pytest.approx(sum(math.exp(c) - 1 - c for c in changes) / 7, abs=1e-6)


ETA, BETA = 0.5, 0.4
REWARD = torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def bandit(log_old: torch.Tensor) -> Batch:
    """One prompt, each of the three completions of one token once: pairs of all arms, with every arm in the fit."""
    every = torch.ones(3, 1, dtype=torch.bool)
    return replace(
        rollouts(),
        tokens=torch.arange(3)[:, None],
        mask=every,
        completion_mask=every,
        groups=torch.zeros(3, dtype=torch.long),
        columns={
            "old_logprobs": log_old[:, None],
            "ref_logprobs": REFERENCE.log()[:, None],
            "scores": REWARD,
            "ended": torch.ones(3).double(),
        },
    )


def least_squares(batch: Batch, settings: REBELSettings, logits: torch.Tensor) -> torch.Tensor:
    """The logits of least loss.  It is quadratic in them, so that one Newton step by autograd's Hessian is exact."""

    def total(logits: torch.Tensor) -> torch.Tensor:
        return loss(outputs_of(torch.log_softmax(logits, 0)[:, None]), batch, settings).terms["pair"].sum()

    gradient = torch.autograd.functional.jacobian(total, logits)
    hessian = torch.autograd.functional.hessian(total, logits)
    assert isinstance(gradient, torch.Tensor)
    assert isinstance(hessian, torch.Tensor)
    return logits - torch.linalg.pinv(hessian) @ gradient


def test_repeated_exact_fits_reach_the_regularised_optimum():
    settings = REBELSettings(eta=ETA, kl_coefficient=BETA)
    best = torch.softmax(REFERENCE.log() + REWARD / BETA, 0)
    logits = REFERENCE.log()
    gaps: list[float] = []
    for _ in range(60):
        old = torch.log_softmax(logits, 0)
        batch, _, _ = prepare(bandit(old), settings, initial_state(settings))
        logits = least_squares(batch, settings, logits)
        here = torch.log_softmax(logits, 0)
        reward = REWARD - BETA * (old - REFERENCE.log())
        torch.testing.assert_close(here, torch.log_softmax(old + ETA * reward, 0), rtol=0, atol=1e-9)
        gaps.append(float((here.exp() - best).abs().max()))
    assert gaps[0] > 0.1  # the reference is far from the optimum
    assert gaps[-1] < 1e-3
    assert gaps[-1] < 1e-4 * gaps[0]  # (1 - eta beta)^60 = 1.5e-6
