"""Losses of pairs and labels against the papers' formulas; and where DPO ends up."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms import dpo, reward_classifier, reward_model, sft
from assent.algorithms.base import Loss
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)


def make_batch(rows: int, width: int = 1, pairs: Any = (), weights: Any = (), ties: Any = (), **columns: Any) -> Batch:
    mask = torch.ones(rows, width, dtype=torch.bool)
    return Batch(
        tokens=torch.zeros(rows, width, dtype=torch.long),
        mask=mask,
        completion_mask=columns.pop("completion_mask", mask),
        groups=torch.arange(rows),
        pairs=replace(
            Pairs.of(torch.tensor(pairs, dtype=torch.long).reshape(-1, 2), torch.tensor(weights, dtype=torch.float64)),
            ties=torch.tensor(ties, dtype=torch.bool),
        ),
        columns=columns,
    )


def reduced(found: Loss, parts: Any) -> torch.Tensor:
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def figure(found: Loss, name: str) -> float:
    return float(found.metrics[name].total / found.metrics[name].count)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_k_choose_2_is_the_papers_mean_over_rankings():
    """Ouyang et al. 2022, eq. 1: each ranking's pairs are averaged, then the rankings: K = 4 weighs as K = 2 does."""
    scores = torch.tensor([0.3, -0.5, 1.1, 0.0, 2.0, 0.7], dtype=torch.float64)
    four = list(itertools.combinations(range(4), 2))  # row i was ranked before row j > i
    pairs = [*four, (5, 4)]
    batch = make_batch(6, pairs=pairs, weights=[1 / 6] * 6 + [1.0], ties=[False] * 7)
    settings = reward_model.RewardModelSettings(centre=0.0)
    found = reward_model.loss(Outputs(NONE, NONE, NONE, scores[:, None]), batch, settings)
    s = scores.tolist()
    first = -sum(log_sigmoid(s[a] - s[b]) for a, b in four) / 6
    want = (first - log_sigmoid(s[5] - s[4])) / 2
    assert float(reduced(found, reward_model.weights(batch, settings))) == pytest.approx(want, abs=1e-12)
    assert figure(found, "accuracy") == pytest.approx(sum(s[a] > s[b] for a, b in pairs) / 7)
    assert figure(found, "margin") == pytest.approx(sum(s[a] - s[b] for a, b in pairs) / 7)


def test_centring_and_ties_of_the_reward_model():
    scores = torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64, requires_grad=True)
    batch = make_batch(3, pairs=[(0, 1), (1, 2)], weights=[0.25, 0.75], ties=[True, False])
    settings = reward_model.RewardModelSettings(centre=0.1)
    found = reward_model.loss(Outputs(NONE, NONE, NONE, scores[:, None]), batch, settings)
    tie = -0.5 * (log_sigmoid(0.5) + log_sigmoid(-0.5))
    want = 0.25 * tie - 0.75 * log_sigmoid(2.5) + 0.1 * (0.25 * 1.5**2 + 0.75 * 1.5**2)
    total = reduced(found, reward_model.weights(batch, settings))
    assert total.item() == pytest.approx(want, abs=1e-12)
    assert figure(found, "accuracy") == 1.0  # the tie does not count
    total.backward()
    assert scores.grad is not None
    assert float(scores.grad[0]) == pytest.approx(0.25 * (1 / (1 + math.exp(-0.5)) - 0.5) + 0.1 * 0.25 * 3.0, abs=1e-12)


def test_equal_scores_are_half_right():
    batch = make_batch(2, pairs=[(0, 1)], weights=[1.0], ties=[False])
    found = reward_model.loss(
        Outputs(NONE, NONE, NONE, torch.ones(2, 1)), batch, reward_model.RewardModelSettings(centre=0.0)
    )
    assert figure(found, "accuracy") == 0.5


def test_dpo_against_the_formula():
    draw = torch.Generator().manual_seed(0)
    logprobs, ref = (-torch.rand(3, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    real = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1]]).bool()
    pairs, pair_weights, ties = [(0, 1), (2, 1)], [0.5, 2.0], [False, True]
    batch = make_batch(3, 4, pairs, pair_weights, ties, completion_mask=real, ref_logprobs=ref)
    settings = dpo.DPOSettings(beta=0.3)
    found = dpo.loss(Outputs(logprobs, NONE, NONE, NONE), batch, settings)
    implied = [0.3 * sum(float(logprobs[b, t] - ref[b, t]) for t in range(4) if real[b, t]) for b in range(3)]
    first = -log_sigmoid(implied[0] - implied[1])
    gap = implied[2] - implied[1]
    second = -0.5 * (log_sigmoid(gap) + log_sigmoid(-gap))
    want = (0.5 * first + 2.0 * second) / 2.5
    assert float(reduced(found, dpo.weights(batch, settings))) == pytest.approx(want, abs=1e-12)
    assert figure(found, "margin") == pytest.approx(implied[0] - implied[1])
    assert figure(found, "reward_chosen") == pytest.approx(implied[0])
    assert figure(found, "reward_rejected") == pytest.approx(implied[1])
    assert figure(found, "accuracy") == float(implied[0] > implied[1])
    assert figure(found, "logprob_chosen") == pytest.approx(float(logprobs[0, 1:].sum()))


def test_dpo_at_the_start_is_log_two_whatever_the_lengths():
    ref = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    batch = make_batch(2, 2, [(0, 1)], [1.0], [False], ref_logprobs=ref)
    found = dpo.loss(Outputs(ref.clone(), NONE, NONE, NONE), batch, dpo.DPOSettings())
    assert float(found.terms["pair"]) == pytest.approx(math.log(2), abs=1e-7)


def test_dpo_ends_at_the_reference_times_exp_reward_over_beta():
    """Rafailov et al. 2023, eq. 4: with preferences that follow Bradley-Terry on r, pi* is ref * exp(r / beta)."""
    beta, reward = 0.7, torch.tensor([0.5, -0.3, 1.2, 0.0], dtype=torch.float64)
    ref = torch.log_softmax(torch.tensor([0.1, 1.0, -0.5, 0.4], dtype=torch.float64), -1)
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    wins = [float(torch.sigmoid(reward[a] - reward[b])) for a, b in pairs]
    batch = make_batch(4, 1, pairs, wins, [False] * len(pairs), ref_logprobs=ref[:, None])
    settings = dpo.DPOSettings(beta=beta)
    theta = ref.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimizer.zero_grad()
        outputs = Outputs(torch.log_softmax(theta, -1)[:, None], NONE, NONE, NONE)
        total = reduced(dpo.loss(outputs, batch, settings), dpo.weights(batch, settings))
        total.backward()
        return total

    optimizer.step(closure)
    want = torch.softmax(ref + reward / beta, -1)
    got = torch.softmax(theta.detach(), -1)
    assert (want - ref.exp()).abs().max() > 0.2
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_the_classifier_by_hand():
    labels, scores = torch.tensor([1.0, 0.0, 0.25]), torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64)
    batch = make_batch(3, labels=labels, heads=torch.zeros(3))
    settings = reward_classifier.RewardClassifierSettings()
    found = reward_classifier.loss(Outputs(NONE, NONE, NONE, scores[:, None]), batch, settings)
    third = -(0.25 * log_sigmoid(-1.0) + 0.75 * log_sigmoid(1.0))
    want = (-log_sigmoid(2.0) - log_sigmoid(-1.0) + third) / 3
    assert float(reduced(found, reward_classifier.weights(batch, settings))) == pytest.approx(want, abs=1e-12)
    assert figure(found, "accuracy") == pytest.approx(2 / 3)
    assert figure(found, "score_mean") == pytest.approx(2 / 3)


def test_sft_is_the_mean_over_completion_tokens_not_rows():
    logprobs = -torch.tensor([[9.0, 1.0, 2.0, 3.0], [9.0, 9.0, 4.0, 9.0]], dtype=torch.float64)
    real = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0]]).bool()
    batch = make_batch(2, 4, completion_mask=real)
    settings = sft.SFTSettings()
    found = sft.loss(Outputs(logprobs, NONE, NONE, NONE), batch, settings)
    assert float(reduced(found, sft.weights(batch, settings))) == pytest.approx(10 / 4)
    assert figure(found, "loss") == pytest.approx(10 / 4)
