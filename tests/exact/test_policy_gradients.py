"""The mean gradient of each unbiased estimator, over every sequence, is the analytic gradient of what it optimises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms import load_algorithm
from assent.algorithms.importance import corrected
from tests.exact.world import Tables, World, expected_gradient, gradients, step

WORLD = World()
SMALL = World(horizon=2)  # seven sequences: three draws of them are 343 batches
BETA = 0.3
PLAIN_PPO: dict[str, Any] = {"whiten_advantages": False, "lam": 1.0, "gamma": 1.0, "kl_coefficient": BETA}


def setting(world: World) -> tuple[Tables, Tensor, Tensor]:
    """A policy and critic far from anything, another policy as reference, and rewards."""
    return world.tables(0), world.tables(1).logits.detach(), world.rewards(2, scale=2.0) + 0.5


def probabilities(world: World, tables: Tables) -> Tensor:
    return world.log_probs(tables.logits).detach().exp()


def true_gradient(world: World, beta: float = BETA) -> Tensor:
    tables, reference, rewards = setting(world)
    return torch.autograd.grad(world.objective(tables.logits, reference, rewards, beta), tables.logits)[0]


def in_the_limit(name: str, **settings: Any) -> dict[str, Tensor]:
    """The gradient over a batch in which every sequence occurs as often as the policy writes it."""
    tables, reference, rewards = setting(WORLD)
    algorithm = load_algorithm(name)
    batch = WORLD.rollouts(tables, reference, rewards)
    made = step(WORLD, algorithm, algorithm.Settings(**settings), tables, batch, often=probabilities(WORLD, tables))
    return gradients(made.loss, tables)


def over_draws(world: World, name: str, size: int, state: dict[str, Any] | None = None, **settings: Any) -> Tensor:
    """The mean gradient over every batch of ``size`` completions of one prompt."""
    tables, reference, rewards = setting(world)
    algorithm = load_algorithm(name)
    made = algorithm.Settings(**settings)
    batch = world.rollouts(tables, reference, rewards)
    started = {**algorithm.initial_state(made), **(state or {})}
    found = expected_gradient(world, algorithm, made, tables, batch, probabilities(world, tables), size, state=started)
    return found["logits"]


def same(found: Tensor, true: Tensor) -> None:
    assert true.abs().max() > 0.02
    torch.testing.assert_close(found, true, rtol=0, atol=1e-12)


def test_the_world_is_whole():
    assert len(WORLD.sequences) == 15
    assert len(SMALL.sequences) == 7
    tables, _, _ = setting(WORLD)
    assert float(probabilities(WORLD, tables).sum()) == pytest.approx(1.0, abs=1e-14)
    assert float(WORLD.mean_length(probabilities(WORLD, tables))) > 1.5


def test_ppo_at_its_first_update_is_the_policy_gradient_whatever_the_critic():
    """Per sampled token, as its loss is a mean over tokens: times the mean length, it is the gradient of J."""
    length = WORLD.mean_length(probabilities(WORLD, setting(WORLD)[0]))
    same(-in_the_limit("ppo", **PLAIN_PPO)["logits"] * length, true_gradient(WORLD))


def visits(world: World, tables: Tables, of: Tensor) -> Tensor:
    """[S] ``of`` [N, T] summed over the tokens that each prefix stands before, as often as they are sampled."""
    each = probabilities(world, tables)[:, None] * of * world.all.completion_mask
    return torch.zeros(world.prefixes, dtype=torch.float64).index_add(
        0, world.prefix_of(world.all).flatten(), each.flatten()
    )


def test_ppo_with_an_entropy_bonus_adds_the_entropy_at_the_prefixes_that_were_met():
    """The bonus is that of each distribution drawn from; how often it is drawn from carries no gradient."""
    tables, reference, rewards = setting(WORLD)
    log_p = torch.log_softmax(tables.logits, -1)
    often = visits(WORLD, tables, torch.ones_like(WORLD.all.tokens).double())
    bonus = (often * -(log_p.exp() * log_p).sum(-1)).sum()
    J = WORLD.objective(tables.logits, reference, rewards, BETA)
    true = torch.autograd.grad(J + 0.2 * bonus, tables.logits)[0]
    found = in_the_limit("ppo", **PLAIN_PPO, entropy_coefficient=0.2)["logits"]
    same(-found * WORLD.mean_length(probabilities(WORLD, tables)), true)
    assert (true - true_gradient(WORLD)).abs().max() > 0.01


def test_ppos_critic_goes_to_the_value_of_each_prefix():
    """The gradient is c1 (V - what is still to come on average), as often as the prefix is met."""
    tables, reference, rewards = setting(WORLD)
    often = visits(WORLD, tables, torch.ones_like(WORLD.all.tokens).double())
    value = visits(WORLD, tables, to_come(rewards, tables, reference)) / often.clamp(min=1e-300)
    length = WORLD.mean_length(probabilities(WORLD, tables))
    found = in_the_limit("ppo", **PLAIN_PPO, value_clip=0.0, value_coefficient=0.1)["values"]
    same(found, 0.1 * often * (tables.values.detach() - value) / length)


def to_come(rewards: Tensor, tables: Tables, reference: Tensor) -> Tensor:
    """[N, T] the reward less beta times k1 of this token and of those after it."""
    tokens, mask = WORLD.token_log_probs(tables.logits).detach(), WORLD.all.completion_mask
    penalty = -BETA * (tokens - WORLD.token_log_probs(reference)) * mask
    return rewards[:, None] + penalty.flip(1).cumsum(1).flip(1)


def test_ppo_then_follows_the_clipped_objective_that_it_states():
    """E_old[sum over tokens of min(r A, clip(r, 0.9, 1.3) A)] over the mean length, at a policy that has moved."""
    tables, reference, rewards = setting(WORLD)
    found, logits, _ = off_policy("ppo", **PLAIN_PPO, clip_low=0.1, clip_high=0.3)
    mask, old = WORLD.all.completion_mask, probabilities(WORLD, tables)
    A = to_come(rewards, tables, reference) - WORLD.forward(tables, WORLD.all).values.detach()
    ratio = (WORLD.token_log_probs(logits) - WORLD.token_log_probs(tables.logits).detach()).exp()
    assert bool((ratio[mask] > 1.3).any())
    assert bool((ratio[mask] < 0.9).any())
    stated = (old[:, None] * torch.minimum(ratio * A, ratio.clamp(0.9, 1.3) * A) * mask).sum()
    same(-found * WORLD.mean_length(old), torch.autograd.grad(stated, logits)[0])


@pytest.mark.parametrize("baseline", ["none", "running"])
def test_reinforce_is_the_policy_gradient(baseline: str):
    """Also with a baseline that earlier batches left behind."""
    earlier = {"return_sum": 0.7, "return_weight": 0.5}
    found = over_draws(WORLD, "reinforce", 2, earlier, baseline=baseline, kl_coefficient=BETA)
    same(-found, true_gradient(WORLD))


def test_reinforce_with_the_batch_as_its_own_baseline_is_a_share_of_it():
    """Each completion is part of its own baseline: 1 - 1/B of the gradient, in the same direction."""
    for size in (2, 3):
        found = over_draws(SMALL, "reinforce", size, baseline="batch", kl_coefficient=BETA)
        same(-found, (1 - 1 / size) * true_gradient(SMALL))


def test_rloo_is_the_policy_gradient():
    same(-over_draws(WORLD, "rloo", 2, kl_coefficient=BETA), true_gradient(WORLD))
    same(-over_draws(SMALL, "rloo", 3, kl_coefficient=BETA), true_gradient(SMALL))


@pytest.mark.parametrize("baseline", ["none", "leave-one-out"])
def test_kl_control_is_the_policy_gradient(baseline: str):
    """Its baseline hangs on which of the *other* completions are long enough, and so takes nothing away."""
    same(-over_draws(WORLD, "kl-control", 2, kl_coefficient=BETA, baseline=baseline), true_gradient(WORLD))
    same(-over_draws(SMALL, "kl-control", 3, kl_coefficient=BETA, baseline=baseline), true_gradient(SMALL))


DR_GRPO: dict[str, Any] = {"advantage_scale": "none", "aggregation": "constant", "length_normaliser": 4.0}


@pytest.mark.parametrize("size", [2, 3])
def test_grpo_without_deviation_and_length_bias_is_a_share_of_the_policy_gradient(size: int):
    """Each score is part of its group's mean: (K - 1) / K of the gradient of E[r], over the constant length."""
    found = over_draws(SMALL, "grpo", size, **DR_GRPO, kl_coefficient=0.0)
    same(-found * 4.0, (1 - 1 / size) * true_gradient(SMALL, beta=0.0))


def state_kl(world: World, tables: Tables, reference: Tensor, reverse: bool) -> Tensor:
    """KL of the next token, summed over the prefixes as often as they are met, which carries no gradient."""
    log_p, log_ref = torch.log_softmax(tables.logits, -1), torch.log_softmax(reference, -1)
    each = (log_ref.exp() * (log_ref - log_p) if reverse else log_p.exp() * (log_p - log_ref)).sum(-1)
    return (visits(world, tables, torch.ones_like(world.all.tokens).double()) * each).sum()


@pytest.mark.parametrize(("estimator", "reverse"), [("k2", False), ("k3", True)])
def test_grpos_kl_term_is_the_kl_of_each_next_token(estimator: str, reverse: bool):
    """k2: that of KL(pi, ref); k3: that of KL(ref, pi); what a token does to later ones is in neither."""
    tables, reference, _ = setting(WORLD)
    kl = torch.autograd.grad(state_kl(WORLD, tables, reference, reverse), tables.logits)[0]
    found = over_draws(WORLD, "grpo", 2, **DR_GRPO, kl_coefficient=BETA, kl_estimator=estimator)
    same(-found * 4.0, 0.5 * true_gradient(WORLD, beta=0.0) - BETA * kl)


def moved(world: World) -> Tensor:
    """A policy a few updates away from the one that sampled."""
    return setting(world)[0].logits.detach() + 0.6 * world.tables(5).logits.detach()


def off_policy(name: str, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The mean gradient at a policy that has moved; its logits; log pi_old / ref of every sequence."""
    tables, reference, rewards = setting(WORLD)
    old = probabilities(WORLD, tables)
    batch = WORLD.rollouts(tables, reference, rewards)
    now = Tables(moved(WORLD).requires_grad_(), tables.values, tables.scores)
    algorithm = load_algorithm(name)
    made = step(WORLD, algorithm, algorithm.Settings(**settings), now, batch, often=old)
    return gradients(made.loss, now)["logits"], now.logits, old.log() - WORLD.log_probs(reference)


def test_ppo_sequence_first_follows_its_weighted_sum_of_reward_and_kl():
    """0.8 E[r] - 0.2 KL, whatever the baseline; with the batch's own mean, 1 - 1/B of it."""
    tables, reference, rewards = setting(WORLD)
    J = WORLD.objective(tables.logits, reference, 0.8 * rewards, 0.2)
    true = torch.autograd.grad(J, tables.logits)[0]
    for baseline, share in (("none", 1.0), ("leave-one-out", 1.0), ("batch", 0.5)):
        found = over_draws(WORLD, "ppo-sequence", 2, baseline=baseline, reward_weight=0.8, kl_weight=0.2)
        same(-found, share * true)


def test_ppo_sequence_then_follows_the_clipped_objective_that_it_states():
    """E_old[min(r R, clip(r, 0.8, 1.2) R)] at a policy of which some ratios are clipped, on either side."""
    rewards = setting(WORLD)[2]
    found, logits, log_ratio_to_ref = off_policy("ppo-sequence", reward_weight=0.8, kl_weight=0.2)
    old = probabilities(WORLD, setting(WORLD)[0])
    R = 0.8 * rewards - 0.2 * log_ratio_to_ref
    ratio = WORLD.log_probs(logits).exp() / old
    assert bool((ratio > 1.2).any())
    assert bool((ratio < 0.8).any())
    stated = (old * torch.minimum(ratio * R, ratio.clamp(0.8, 1.2) * R)).sum()
    same(-found, torch.autograd.grad(stated, logits)[0])


def test_reinforce_with_untruncated_weights_is_unbiased_off_the_policy_too():
    """Importance weights without a limit: the gradient of E[r] at the policy that has moved."""
    found, logits, _ = off_policy("reinforce", baseline="none", kl_coefficient=0.0, importance_limit=1e6)
    J = WORLD.objective(logits, setting(WORLD)[1], setting(WORLD)[2], 0.0)
    same(-found, torch.autograd.grad(J, logits)[0])


def test_samples_of_older_weights_give_the_gradient_of_the_newer_ones():
    """Exactly, as long as the limit truncates no weight; above it, the sum with the truncated weights."""
    tables, reference, rewards = setting(WORLD)
    older = WORLD.tables(3)
    algorithm = load_algorithm("reinforce")
    settings = algorithm.Settings(baseline="none", kl_coefficient=BETA)
    sampled = WORLD.token_log_probs(older.logits.detach())
    batch = WORLD.rollouts(tables, reference, rewards).with_columns(engine_logprobs=sampled)
    drawn = probabilities(WORLD, older)

    def found(limit: float | None) -> Tensor:
        used = algorithm if limit is None else corrected(algorithm, limit)
        return -gradients(step(WORLD, used, settings, tables, batch, often=drawn).loss, tables)["logits"]

    same(found(1e6), true_gradient(WORLD))
    assert (found(None) - true_gradient(WORLD)).abs().max() > 0.02
    log_p = WORLD.log_probs(tables.logits)
    returns = rewards - BETA * (log_p - WORLD.log_probs(reference)).detach()
    held = (log_p.detach().exp() / drawn).clamp(max=1.3)
    truncated = torch.autograd.grad((drawn * held * returns * log_p).sum(), tables.logits)[0]
    same(found(1.3), truncated)
