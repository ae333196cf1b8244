"""GAE against its definition on masks with gaps, and the estimators of KL summed over every sequence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from assent.algorithms.advantages import gae
from assent.algorithms.kl import k1, k2, k3
from tests.exact.world import World

WORLD = World()
POLICY, REFERENCE = WORLD.tables(0).logits, WORLD.tables(1).logits.detach()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (0.97, 1.0), (0.8, 0.0)])
def test_gae_is_its_definition_on_random_masks(seed: int, gamma: float, lam: float):
    """A_t = sum over the later masked tokens u of (gamma lam)^(steps from t to u) delta_u, in O(T^2)."""
    draw = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(6, 10, generator=draw, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(6, 10, generator=draw) < 0.6  # turns of other speakers, prompts and padding alike
    mask[0], mask[1] = True, False
    want = torch.zeros_like(rewards)
    for b in range(6):
        own = mask[b].nonzero()[:, 0].tolist()
        for i, t in enumerate(own):
            for j in range(i, len(own)):
                u = own[j]
                after = float(values[b, own[j + 1]]) if j + 1 < len(own) else 0.0
                delta = float(rewards[b, u]) + gamma * after - float(values[b, u])
                want[b, t] += (gamma * lam) ** (j - i) * delta
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    torch.testing.assert_close(advantages, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(returns, (want + values) * mask, rtol=0, atol=1e-12)


def probabilities() -> Tensor:
    return WORLD.log_probs(POLICY).detach().exp()


def sequence_kl(reverse: bool = False) -> Tensor:
    """KL(policy || reference) over sequences, or the reversed one, with gradient."""
    log_p, log_ref = WORLD.log_probs(POLICY), WORLD.log_probs(REFERENCE)
    return (log_ref.exp() * (log_ref - log_p)).sum() if reverse else (log_p.exp() * (log_p - log_ref)).sum()


def state_kl(reverse: bool = False) -> Tensor:
    """The KL of the next token's distribution, summed over the prefixes as often as the policy comes by them.

    How often it comes by them carries no gradient.  Its value is the sequences' KL (the chain rule), its gradient not.
    """
    log_p, log_ref = torch.log_softmax(POLICY, -1), torch.log_softmax(REFERENCE, -1)
    each = (log_ref.exp() * (log_ref - log_p) if reverse else log_p.exp() * (log_p - log_ref)).sum(-1)
    prefix, mask = WORLD.prefix_of(WORLD.all), WORLD.all.completion_mask
    return (probabilities()[:, None] * each[prefix] * mask).sum()


def gradient(loss: Tensor) -> Tensor:
    return torch.autograd.grad(loss, POLICY)[0]


def expected(estimator: Callable[[Tensor, Tensor], Tensor], *, per_token: bool) -> Tensor:
    """E[estimator] with its gradient as a loss: samples are drawn first, then the estimator is differentiated."""
    if per_token:
        mask = WORLD.all.completion_mask
        each = (estimator(WORLD.token_log_probs(POLICY), WORLD.token_log_probs(REFERENCE)) * mask).sum(1)
    else:
        each = estimator(WORLD.log_probs(POLICY), WORLD.log_probs(REFERENCE))
    return (probabilities() * each).sum()


@pytest.mark.parametrize("per_token", [True, False])
@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_have_the_kl_as_their_mean(estimator, per_token: bool):
    kl = sequence_kl().item()
    assert kl > 0.3
    assert expected(estimator, per_token=per_token).item() == pytest.approx(kl, abs=1e-12)


def test_k2_has_not():
    """Here it is 21 % above the KL, over whole sequences; off by the third power of the distance of the policies."""
    kl = sequence_kl().item()
    assert expected(k2, per_token=False).item() / kl - 1 == pytest.approx(0.2095, abs=1e-3)

    def off(step: float) -> float:
        near = POLICY.detach() + step * (REFERENCE - POLICY.detach())
        log_p, log_q = WORLD.log_probs(POLICY).detach(), WORLD.log_probs(near)
        return float((log_p.exp() * (k2(log_p, log_q) - k1(log_p, log_q))).sum())

    assert off(0.01) / off(0.005) == pytest.approx(8.0, rel=0.05)


def test_k2_of_sequences_has_the_gradient_of_the_kl():
    true = gradient(sequence_kl())
    assert true.abs().max() > 0.05
    torch.testing.assert_close(gradient(expected(k2, per_token=False)), true, rtol=0, atol=1e-12)


def test_k2_of_tokens_has_that_of_the_kl_at_the_prefixes_that_were_met():
    """What a token does to the KL of the tokens after it is left out: not the gradient of the sequences' KL."""
    found, true = gradient(expected(k2, per_token=True)), gradient(state_kl())
    torch.testing.assert_close(found, true, rtol=0, atol=1e-12)
    assert state_kl().item() == pytest.approx(sequence_kl().item(), abs=1e-12)
    assert (found - gradient(sequence_kl())).abs().max() > 0.02


@pytest.mark.parametrize("per_token", [True, False])
def test_k3_has_the_gradient_of_the_reversed_kl(per_token: bool):
    true = gradient(state_kl(reverse=True) if per_token else sequence_kl(reverse=True))
    torch.testing.assert_close(gradient(expected(k3, per_token=per_token)), true, rtol=0, atol=1e-12)
    assert (true - gradient(sequence_kl())).abs().max() > 0.05


@pytest.mark.parametrize("per_token", [True, False])
def test_k1_as_a_loss_has_no_gradient(per_token: bool):
    assert gradient(expected(k1, per_token=per_token)).abs().max() < 1e-12


def test_k1_per_token_as_a_reward_has_the_gradient_of_the_kl():
    """The score function times what is still to come of k1: how PPO's penalty enters, the later tokens included."""
    mask = WORLD.all.completion_mask
    tokens = WORLD.token_log_probs(POLICY)
    penalty = (k1(tokens.detach(), WORLD.token_log_probs(REFERENCE)) * mask).detach()
    to_come = penalty.flip(1).cumsum(1).flip(1)
    found = gradient((probabilities()[:, None] * tokens * to_come * mask).sum())
    torch.testing.assert_close(found, gradient(sequence_kl()), rtol=0, atol=1e-12)
