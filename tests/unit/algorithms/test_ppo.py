"""PPO: rewards and advantages by hand, and its first gradient against the whole expectation."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.ppo import PPOSettings, initial_state, loss, prepare, weights
from assent.training.reduce import reduce_loss

PLAIN: dict[str, Any] = {"whiten_advantages": False, "kl_coefficient": 0.0, "gamma": 1.0, "lam": 1.0}


def rollouts() -> Batch:
    """Two prompts of one token: a completion of two tokens that ended, and one of three that was cut off."""
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    completion = mask.clone()
    completion[:, 0] = False
    return Batch(
        tokens=torch.tensor([[1, 2, 3, 0], [1, 4, 4, 4]]),
        mask=mask,
        completion_mask=completion,
        groups=torch.tensor([0, 1]),
        pairs=Pairs.none(),
        columns={
            "old_logprobs": torch.tensor([[-0.7, -1.0, -2.0, 9.0], [0.0, -0.5, -0.5, -0.5]]),
            "ref_logprobs": torch.tensor([[0.0, -1.5, -1.0, 0.0], [0.0, -1.0, -1.5, -0.5]]),
            "values": torch.tensor([[0.0, 0.2, 0.4, 0.0], [0.0, 0.1, 0.3, 0.5]]),
            "scores": torch.tensor([1.0, 2.0]),
            "ended": torch.tensor([1.0, 0.0]),
        },
    )


def prepared(**settings: Any) -> tuple[Batch, Any, Any]:
    made = PPOSettings(**{**PLAIN, **settings})
    return prepare(rollouts(), made, initial_state(made))


def test_without_kl_returns_are_the_score_at_every_token():
    batch, _, figures = prepared()
    torch.testing.assert_close(batch["returns"], torch.tensor([[0.0, 1, 1, 0], [0, 2, 2, 2]]))
    torch.testing.assert_close(batch["advantages"], torch.tensor([[0, 0.8, 0.6, 0], [0, 1.9, 1.7, 1.5]]))
    assert figures["reward_mean"] == 1.5
    assert figures["reward_std"] == 0.5
    assert figures["ended_share"] == 0.5
    assert figures["completion_tokens"] == 2.5
    assert figures["return_mean"] == pytest.approx(8 / 5)


def test_the_kl_penalty_is_k1_per_token():
    # k1: 0.5, -1.0; and 0.5, 1.0, 0.0.  Rewards: -0.05, 0.1 + 1; and -0.05, -0.1, 0 + 2.
    batch, _, figures = prepared(kl_coefficient=0.1)
    torch.testing.assert_close(batch["returns"], torch.tensor([[0, 1.05, 1.1, 0], [0, 1.85, 1.9, 2.0]]))
    assert figures["kl"] == pytest.approx((-0.5 + 1.5) / 2)
    e = torch.e
    k3 = ((e**-0.5 - 0.5) + (e - 2) + (e**-0.5 - 0.5) + e**-1.0 + 0.0) / 2
    assert figures["kl_k3"] == pytest.approx(k3, abs=1e-6)
    assert figures["kl_coefficient"] == 0.1


def test_a_completion_that_was_cut_off_loses_the_penalty_before_clipping():
    batch, _, figures = prepared(missing_eos_penalty=0.5)
    torch.testing.assert_close(batch["returns"], torch.tensor([[0.0, 1, 1, 0], [0, 1.5, 1.5, 1.5]]))
    assert figures["reward_mean"] == 1.5  # the source's own scores are reported
    batch, _, _ = prepared(missing_eos_penalty=0.5, reward_clip=1.2)
    torch.testing.assert_close(batch["returns"], torch.tensor([[0.0, 1, 1, 0], [0, 1.2, 1.2, 1.2]]))


def test_the_coefficient_adapts_for_the_next_batch():
    _, state, figures = prepared(kl_coefficient=0.1, kl_target=0.1, kl_horizon=20.0)
    assert figures["kl_coefficient"] == 0.1
    assert state["kl_coefficient"] == pytest.approx(0.1 * (1 + 0.2 * 2 / 20))  # kl 0.5 over target 0.1: e = 0.2
    _, after, figures = prepare(rollouts(), PPOSettings(**PLAIN), state)
    assert figures["kl_coefficient"] == state["kl_coefficient"] == after["kl_coefficient"]


def test_advantages_are_whitened_over_the_real_tokens_of_the_batch():
    batch, _, _ = prepared(whiten_advantages=True)
    real = batch["advantages"][batch.completion_mask]
    assert float(real.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(real.var()) == pytest.approx(1.0, abs=1e-5)
    order = real.argsort().tolist()
    assert order == [1, 0, 4, 3, 2]
    assert batch["advantages"][~batch.completion_mask].abs().max() == 0
    # the critic's targets are the plain ones
    torch.testing.assert_close(batch["returns"], torch.tensor([[0.0, 1, 1, 0], [0, 2, 2, 2]]))


def test_rewards_are_scaled_without_moving_their_mean():
    batch, _, _ = prepared(whiten_rewards=True)
    rewards = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0])
    white = (rewards - 0.6) / rewards.std() + 0.6
    got = batch["returns"]
    assert float(got[0, 2]) == pytest.approx(float(white[1]), abs=1e-5)
    assert float(got[1, 1]) == pytest.approx(float(white[2:].sum()), abs=1e-5)


def test_the_critic_explains():
    batch = rollouts()
    settings = PPOSettings(**PLAIN)
    right = batch.with_columns(values=torch.tensor([[0.0, 1, 1, 0], [0, 2, 2, 2]]))
    assert prepare(right, settings, initial_state(settings))[2]["value_explained"] == pytest.approx(1.0)
    assert prepare(batch, settings, initial_state(settings))[2]["value_explained"] < 0.9


V, BETA = 3, 0.3
REWARD = torch.randn(V, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
REFERENCE = torch.randn(1 + V, V, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
THETA = torch.randn(1 + V, V, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TOKENS = torch.tensor(list(itertools.product(range(V), repeat=2)))


def token_logprobs(logits: torch.Tensor) -> torch.Tensor:
    """[V * V, 2] log-probabilities of every text of two tokens; logits [1 + V, V] by the token before."""
    log_p = torch.log_softmax(logits, -1)
    return torch.stack([log_p[0, TOKENS[:, 0]], log_p[1 + TOKENS[:, 0], TOKENS[:, 1]]], 1)


@pytest.mark.parametrize("baseline", [0.0, 5.0])
def test_the_first_gradient_is_that_of_the_regularised_objective(baseline: float):
    """Over all texts: E[grad of PPO's terms] = -grad of E[R] - beta KL, also with values, which must not bias it."""
    theta = THETA.clone().requires_grad_()
    logprobs = token_logprobs(theta)
    texts = logprobs.sum(1)
    objective = (texts.exp() * (REWARD.reshape(-1) - BETA * (texts - token_logprobs(REFERENCE).sum(1)))).sum()
    (want,) = torch.autograd.grad(objective, theta, retain_graph=True)

    settings = PPOSettings(**{**PLAIN, "kl_coefficient": BETA})
    old = logprobs.detach()
    every = torch.ones(V * V, 2, dtype=torch.bool)
    state_values = torch.stack([torch.full((V * V,), baseline).double(), baseline * TOKENS[:, 0].double()], 1)
    batch = replace(
        rollouts(),
        tokens=TOKENS,
        mask=every,
        completion_mask=every,
        groups=torch.arange(V * V),
        columns={
            "old_logprobs": old,
            "ref_logprobs": token_logprobs(REFERENCE),
            "values": state_values,
            "scores": REWARD.reshape(-1),
            "ended": torch.ones(V * V).double(),
        },
    )
    batch, _, _ = prepare(batch, settings, initial_state(settings))
    none = torch.zeros(0)
    outputs = Outputs(logprobs=logprobs, entropy=torch.zeros_like(old), values=state_values, scores=none)
    terms = loss(outputs, batch, settings).terms["policy"]
    (got,) = torch.autograd.grad((old.sum(1).exp()[:, None] * terms).sum(), theta)
    assert want.abs().max() > 0.05
    torch.testing.assert_close(got, -want, rtol=0, atol=1e-12)


def test_the_parts_add_up():
    settings = PPOSettings(**{**PLAIN, "value_coefficient": 0.5, "entropy_coefficient": 0.01, "value_clip": 0.0})
    batch, _, _ = prepare(rollouts(), settings, initial_state(settings))
    entropy = torch.full((2, 4), 0.7)
    outputs = Outputs(batch["old_logprobs"] + 0.1, entropy, batch["values"] + 0.1, torch.zeros(0))
    parts = weights(batch, settings)
    found = loss(outputs, batch, settings)
    total = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    real = batch.completion_mask
    policy = -(batch["advantages"][real] * torch.e**0.1).mean()
    value = 0.5 * (batch["values"] + 0.1 - batch["returns"])[real].square().mean()
    assert float(total) == pytest.approx(float(policy + 0.5 * value - 0.01 * 0.7), abs=1e-5)
    ratio = found.metrics["ratio_mean"]
    assert float(ratio.total / ratio.count) == pytest.approx(torch.e**0.1, abs=1e-5)
    kl = found.metrics["approximate_kl"]
    assert float(kl.total / kl.count) == pytest.approx(torch.e**0.1 - 1.1, abs=1e-6)


def test_the_share_of_the_returns_that_the_critic_explains():
    """1 - var(R - V) / var(R), over the five sampled tokens."""
    from statistics import pvariance

    _, _, figures = prepared()
    returns, values = [1.0, 1.0, 2.0, 2.0, 2.0], [0.2, 0.4, 0.1, 0.3, 0.5]
    errors = [r - v for r, v in zip(returns, values, strict=True)]
    assert figures["value_explained"] == pytest.approx(1 - pvariance(errors) / pvariance(returns), abs=1e-5)
