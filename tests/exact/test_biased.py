"""The biased gradients against the surrogates that their pages state; the figures on the pages against the command."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms import load_algorithm
from benchmarks import bias
from tests.exact.world import Tables, World, expected_gradient, gradients, step

PAGES = Path(__file__).parents[2] / "docs/algorithms"
WORLD = World(horizon=2)


def setting(world: World) -> tuple[Tables, Tensor, Tensor, Tensor]:
    """Policy, reference, rewards, and the probabilities of all sequences."""
    tables = world.tables(0)
    rewards = world.rewards(2, scale=2.0) + 0.5
    return tables, world.tables(1).logits.detach(), rewards, world.log_probs(tables.logits).detach().exp()


def over_draws(world: World, name: str, size: int, **settings: Any) -> Tensor:
    """The mean gradient, ascending, over every batch of ``size`` completions of one prompt."""
    tables, reference, rewards, p = setting(world)
    algorithm = load_algorithm(name)
    batch = world.rollouts(tables, reference, rewards)
    made = algorithm.Settings(kl_coefficient=0.0, **settings)
    return -expected_gradient(world, algorithm, made, tables, batch, p, size)["logits"]


def ascent(world: World, advantages: Tensor) -> Tensor:
    """The gradient of E[A(y)], A [N] held fixed."""
    tables = setting(world)[0]
    return torch.autograd.grad((world.log_probs(tables.logits).exp() * advantages).sum(), tables.logits)[0]


def against_others(scores: list[float], p: list[float], size: int, scaled: Any) -> Tensor:
    """[N] what a score becomes on average, as the first of ``size``, the others drawn from ``p``."""
    out: list[float] = []
    for own in scores:
        total = 0.0
        for others in itertools.product(range(len(scores)), repeat=size - 1):
            chance = math.prod(p[i] for i in others)
            total += chance * scaled(own, [own, *(scores[i] for i in others)])
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


def standardised(own: float, group: list[float]) -> float:
    return (own - statistics.fmean(group)) / (statistics.stdev(group) + 1e-4)


def whitened(own: float, group: list[float]) -> float:
    variance = statistics.variance(group)
    return (own - statistics.fmean(group)) / math.sqrt(variance + 1e-8) if variance > 1e-12 else 0.0


CONSTANT: dict[str, Any] = {"aggregation": "constant", "length_normaliser": 1.0}
SCALED = [
    ("grpo", CONSTANT, standardised),
    ("grpo", {**CONSTANT, "advantage_scale": "batch"}, standardised),
    ("reinforce", {"baseline": "running", "whiten_advantages": True}, whitened),
]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("name", "settings", "scaled"), SCALED, ids=["group", "batch", "whitened"])
def test_divided_by_a_deviation_it_ascends_the_mean_of_what_scores_became(
    name: str, settings: dict[str, Any], scaled: Any, size: int
):
    """The surrogate: E[A(y)] with A(y) the mean of y's scaled score against K - 1 other samples, held fixed."""
    _, _, rewards, p = setting(WORLD)
    advantages = against_others(rewards.tolist(), p.tolist(), size, scaled)
    found = over_draws(WORLD, name, size, **settings)
    assert found.abs().max() > 0.02
    torch.testing.assert_close(found, ascent(WORLD, advantages), rtol=0, atol=1e-12)


def test_two_completions_divided_by_their_deviation_ascend_the_win_rate():
    """Only the order of two scores is left: the gradient is sqrt(2) that of the probability to beat an old sample."""
    _, _, rewards, p = setting(WORLD)
    wins = ((rewards[:, None] > rewards[None, :]).double() * p).sum(1)
    wins += 0.5 * ((rewards[:, None] == rewards[None, :]).double() * p).sum(1)
    want = math.sqrt(2) * ascent(WORLD, wins)
    found = over_draws(WORLD, "grpo", 2, **CONSTANT)
    torch.testing.assert_close(found, want, rtol=2e-3, atol=2e-4)  # the 1e-4 beside the deviation
    far = over_draws(WORLD, "grpo", 2, **CONSTANT, advantage_scale="none")
    assert (found - far).abs().max() > 0.01


def test_many_completions_of_scores_0_and_1_ascend_the_arcsine_of_the_root():
    """As its page says: a prompt's part is the gradient of 2 arcsin(sqrt(p)), p the probability of a 1."""
    coin = World(vocabulary=2, horizon=1)
    tables = coin.tables(0)
    p = coin.log_probs(tables.logits)[0].exp()
    want = torch.autograd.grad(2 * p.sqrt().arcsin(), tables.logits, retain_graph=True)[0]
    plain = torch.autograd.grad(p, tables.logits)[0]
    algorithm = load_algorithm("grpo")
    settings = algorithm.Settings(kl_coefficient=0.0, **CONSTANT)
    scores = torch.tensor([1.0, 0.0], dtype=torch.float64)
    batch = coin.rollouts(tables, tables.logits.detach(), scores)
    both = coin.log_probs(tables.logits).detach().exp()
    found = -expected_gradient(coin, algorithm, settings, tables, batch, both, 150)["logits"]
    torch.testing.assert_close(found, want, rtol=0.015, atol=0)
    assert float(found[0, 0] / plain[0, 0]) > 1.9


@pytest.mark.parametrize("limit", [1.0, 1.5, 2.0])
def test_truncated_importance_weights_ascend_what_the_page_states(limit: float):
    """The mean over the old policy of min(pi / old, c) R grad log pi, at a policy that has moved."""
    tables, reference, rewards, old = setting(WORLD)
    now = Tables((tables.logits + 0.7 * WORLD.tables(5).logits).detach().requires_grad_(), tables.values, tables.scores)
    algorithm = load_algorithm("reinforce")
    settings = algorithm.Settings(baseline="none", kl_coefficient=0.0, importance_limit=limit)
    batch = WORLD.rollouts(tables, reference, rewards)
    found = -gradients(step(WORLD, algorithm, settings, now, batch, often=old).loss, now)["logits"]
    log_p = WORLD.log_probs(now.logits)
    weight = (log_p.exp() / old).detach()
    assert bool((weight > limit).any())
    assert bool((weight < limit).any())
    stated = torch.autograd.grad((old * weight.clamp(max=limit) * rewards * log_p).sum(), now.logits)[0]
    torch.testing.assert_close(found, stated, rtol=0, atol=1e-12)


@pytest.mark.parametrize("page", sorted({case.page for case in bias.CASES}))
def test_the_page_has_the_figures_that_the_command_prints(page: str):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    section = text.partition("\n## Bias\n")[2].partition("\n## ")[0]
    assert "python -m benchmarks.bias" in section
    on_page = [line for line in section.splitlines() if line.startswith("|")]
    assert on_page == [*bias.HEADER, *(bias.row(case) for case in bias.CASES if case.page == page)]
