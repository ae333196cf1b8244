"""Driven on, with exact expectations, the algorithms arrive at pi*(y), proportional to ref(y) exp(r(y) / beta)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms import load_algorithm
from assent.algorithms.batch import Batch, Pairs
from tests.exact.world import Tables, World, distance, every_draw, gradients, update

WORLD = World(horizon=2)
BANDIT = World(vocabulary=5, horizon=1)
BETA = 0.5


def start(world: World) -> tuple[Tables, Tensor, Tensor]:
    return world.tables(0), world.tables(1).logits.detach(), world.rewards(2)


def probabilities(world: World, tables: Tables) -> Tensor:
    return world.log_probs(tables.logits).detach().exp()


@dataclass(frozen=True)
class Drive:
    """How an algorithm is driven, and the beta of the optimum that it goes to."""

    name: str
    settings: dict[str, Any]
    draws: int = 1
    """Completions of a prompt."""
    epochs: int = 1
    """Updates on each batch of rollouts."""
    batches: int = 100
    beta: float = BETA
    world: World = field(default=WORLD)


def drive(case: Drive, rate: float = 0.1) -> float:
    """Total variation to the optimum after so many batches, the rate of Adam falling to zero."""
    world, algorithm = case.world, load_algorithm(case.name)
    settings = algorithm.Settings(**case.settings)
    tables, reference, rewards = start(world)
    goal = world.optimum(reference, rewards, case.beta)
    assert distance(probabilities(world, tables), goal) > 0.3
    optimizer = torch.optim.Adam([tables.logits, tables.values], lr=rate)
    state = algorithm.initial_state(settings)
    for i in range(case.batches):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - i / case.batches)
        rollouts = world.rollouts(tables, reference, rewards)
        batch, often = every_draw(rollouts, probabilities(world, tables), case.draws)
        prepared, state, _ = algorithm.prepare(batch, settings, state)
        for _ in range(case.epochs):
            found = gradients(update(world, algorithm, settings, tables, prepared, often), tables)
            tables.logits.grad, tables.values.grad = found["logits"], found["values"]
            optimizer.step()
    return distance(probabilities(world, tables), goal)


KL = {"kl_coefficient": BETA}
DRIVES = {
    "ppo": Drive("ppo", {**KL, "whiten_advantages": False}, epochs=4, batches=50),
    "reinforce": Drive("reinforce", {**KL, "baseline": "running"}),
    "rloo": Drive("rloo", KL, draws=2, epochs=2, batches=60),
    "kl-control": Drive("kl-control", {**KL, "baseline": "none"}, epochs=2),
    "ppo-sequence": Drive("ppo-sequence", {"reward_weight": 0.8, "kl_weight": 0.4}),
    # its score is part of its baseline: rewards count (K - 1) / K, so beta counts K / (K - 1)
    "grpo": Drive(
        "grpo",
        {**KL, "advantage_scale": "none", "aggregation": "constant", "length_normaliser": 1.0},
        draws=2,
        beta=2 * BETA,
        world=BANDIT,
    ),
}


@pytest.mark.parametrize("name", DRIVES)
def test_driven_to_the_optimum(name: str):
    assert drive(DRIVES[name]) < 0.005


def minimised(loss: Any, tables: Tables) -> None:
    """Down to where the gradient is nothing."""
    optimizer = torch.optim.LBFGS([tables.logits], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        value = loss()
        tables.logits.grad = gradients(value, tables)["logits"]
        return value

    optimizer.step(closure)


def test_rebel_iterates_to_the_optimum():
    """One regression gives pi_t exp(eta r), r less beta log pi_t / ref; with eta beta = 1/2 the log-ratio halves."""
    algorithm = load_algorithm("rebel")
    settings = algorithm.Settings(eta=0.5 / BETA, kl_coefficient=BETA)
    tables, reference, rewards = start(WORLD)
    goal, log_ref = WORLD.optimum(reference, rewards, BETA), WORLD.log_probs(reference)
    far: list[float] = []
    for _ in range(8):
        old = WORLD.log_probs(tables.logits).detach()
        batch, often = every_draw(WORLD.rollouts(tables, reference, rewards), old.exp(), 2)
        prepared, _, _ = algorithm.prepare(batch, settings, algorithm.initial_state(settings))
        minimised(lambda b=prepared, o=often: update(WORLD, algorithm, settings, tables, b, o), tables)
        stated = torch.softmax(old + settings.eta * (rewards - BETA * (old - log_ref)), 0)
        assert distance(probabilities(WORLD, tables), stated) < 1e-5
        far.append(distance(probabilities(WORLD, tables), goal))
    assert far[0] > 0.1
    assert far[-1] < 0.005


def compared(rewards: Tensor, sampled: Tensor, wins: Tensor) -> Batch:
    """Every pair of sequences, each drawn as ``sampled`` [N] says, with i before j ``wins[i, j]`` of the time."""
    rows = torch.cartesian_prod(torch.arange(len(rewards)), torch.arange(len(rewards)))
    rows = rows[rows[:, 0] != rows[:, 1]]
    weights = sampled[rows].prod(1) * wins[rows[:, 0], rows[:, 1]]
    pairs = Pairs.of(rows, weights).to(torch.float64)
    return replace(WORLD.all, groups=torch.zeros_like(WORLD.all.groups), pairs=pairs)


def bradley_terry(rewards: Tensor) -> Tensor:
    return torch.sigmoid(rewards[:, None] - rewards[None, :])


def dpo_batch(wins: Tensor) -> Batch:
    """Pairs without end, of completions that some third policy wrote."""
    _, reference, rewards = start(WORLD)
    sampled = probabilities(WORLD, WORLD.tables(7))
    return compared(rewards, sampled, wins).with_columns(ref_logprobs=WORLD.token_log_probs(reference))


def at_the_optimum() -> Tables:
    tables, reference, rewards = start(WORLD)
    logits = WORLD.logits_of(WORLD.optimum(reference, rewards, BETA))
    return Tables(logits.requires_grad_(), tables.values, tables.scores)


def test_the_optimum_has_these_logits():
    _, reference, rewards = start(WORLD)
    goal = WORLD.optimum(reference, rewards, BETA)
    torch.testing.assert_close(probabilities(WORLD, at_the_optimum()), goal, rtol=0, atol=1e-14)
    log_p = WORLD.log_probs(reference)
    assert float((goal / (log_p.exp() * (rewards / BETA).exp())).std()) < 1e-14


def test_dpo_has_no_gradient_at_the_optimum_and_gets_there():
    """With what a Bradley-Terry annotator says without end, whoever wrote the completions."""
    algorithm = load_algorithm("dpo")
    settings = algorithm.Settings(beta=BETA)
    tables, reference, rewards = start(WORLD)
    batch = dpo_batch(bradley_terry(rewards))

    def loss(tables: Tables) -> Tensor:
        return update(WORLD, algorithm, settings, tables, batch)

    assert gradients(loss(tables), tables)["logits"].abs().max() > 0.02
    there = at_the_optimum()
    assert gradients(loss(there), there)["logits"].abs().max() < 1e-14
    minimised(lambda: loss(tables), tables)
    assert distance(probabilities(WORLD, tables), WORLD.optimum(reference, rewards, BETA)) < 1e-4


def test_the_reward_model_learns_the_annotators_rewards():
    """Up to the constant that the likelihood leaves free."""
    algorithm = load_algorithm("reward")
    settings = algorithm.Settings(centre=0.0)
    _, _, rewards = start(WORLD)
    batch = compared(rewards, probabilities(WORLD, WORLD.tables(7)), bradley_terry(rewards))
    there = WORLD.tables(3)
    number = WORLD.prefix_of(batch) * WORLD.vocabulary + torch.where(batch.completion_mask, batch.tokens, 0)
    last = number.gather(1, batch.completion_mask.sum(1, keepdim=True))[:, 0]
    scores = there.scores.detach().clone()
    scores[last, 0] = rewards + math.pi
    learnt = Tables(there.logits, there.values, scores.requires_grad_())
    loss = [update(WORLD, algorithm, settings, t, batch) for t in (there, learnt)]
    assert gradients(loss[0], there)["scores"].abs().max() > 0.02
    assert gradients(loss[1], learnt)["scores"].abs().max() < 1e-14
