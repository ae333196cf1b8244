"""With data without end, each loss has no gradient at its closed form, and has one elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms import load_algorithm
from assent.algorithms.batch import Batch, Pairs
from tests.exact.world import Tables, World, every_draw, gradients, update

WORLD = World(horizon=2)
COUNT = len(WORLD.sequences)
BETA = 0.5
START = WORLD.tables(0)
REFERENCE = WORLD.tables(1).logits.detach()
REWARDS = WORLD.rewards(2)
REF = WORLD.log_probs(REFERENCE).exp()
DATA = WORLD.log_probs(WORLD.tables(7).logits).detach().exp()
"""Whoever wrote the completions of a data set, or demonstrates."""
WINS = torch.sigmoid(REWARDS[:, None] - REWARDS[None, :])
"""[N, N] how often i is preferred to j."""


def policy(probabilities: Tensor) -> Tables:
    logits = WORLD.logits_of(probabilities / probabilities.sum())
    return Tables(logits.requires_grad_(), START.values, START.scores)


def reward_model(scores: Tensor) -> Tables:
    """A reward model with these scores [N] of the sequences."""
    number = WORLD.prefix_of(WORLD.all) * WORLD.vocabulary + torch.where(WORLD.all.completion_mask, WORLD.all.tokens, 0)
    last = number.gather(1, WORLD.all.completion_mask.sum(1, keepdim=True))[:, 0]
    table = torch.zeros_like(START.scores).detach()
    table[last, 0] = scores
    return Tables(START.logits, START.values, table.requires_grad_())


def with_reference(batch: Batch) -> Batch:
    return batch.with_columns(ref_logprobs=WORLD.token_log_probs(REFERENCE))


def paired(often: Tensor) -> Batch:
    """Every sequence once, and every pair (chosen i, rejected j) ``often[i, j]`` times, i = j left out."""
    rows = torch.tensor(list(itertools.permutations(range(COUNT), 2)))
    pairs = Pairs.of(rows, often[rows[:, 0], rows[:, 1]]).to(torch.float64)
    return with_reference(replace(WORLD.all, groups=torch.zeros_like(WORLD.all.groups), pairs=pairs))


def at(name: str, settings: dict[str, Any], batch: Batch, tables: Tables, often: Tensor | None = None) -> float:
    """The largest entry of the gradient of the table that it trains."""
    algorithm = load_algorithm(name)
    made = algorithm.Settings(**settings)
    prepared, _, _ = algorithm.prepare(batch, made, algorithm.initial_state(made))
    found = gradients(update(WORLD, algorithm, made, tables, prepared, often), tables)
    return float(found["scores" if "scores" in algorithm.outputs else "logits"].abs().max())


def rests(name: str, settings: dict[str, Any], batch: Batch, there: Tables, often: Tensor | None = None) -> None:
    assert at(name, settings, batch, START, often) > 0.01
    assert at(name, settings, batch, there, often) < 1e-12


SAMPLED = DATA[:, None] * DATA[None, :]
FLIPPED = 0.8 * WINS + 0.2 * WINS.T


def test_sft_rests_at_the_demonstrator():
    rests("sft", {}, WORLD.all, policy(DATA), DATA)


def test_dpo_unbiased_under_flips_rests_at_the_optimum_of_the_clean_labels():
    there = policy(REF * (REWARDS / BETA).exp())
    settings = {"beta": BETA, "label_smoothing": 0.2}
    rests("dpo", {**settings, "loss": "robust"}, paired(SAMPLED * FLIPPED), there)
    assert at("dpo", {**settings, "loss": "sigmoid"}, paired(SAMPLED * FLIPPED), there) > 0.01


def test_ipo_rests_at_the_preference_over_whoever_wrote_the_completions():
    """ref(y) exp(P(y is preferred to a sample) / beta) (Azar et al. 2023, section 4), for any preferences."""
    there = policy(REF * ((WINS * DATA).sum(1) / BETA).exp())
    rests("dpo", {"beta": BETA, "loss": "ipo"}, paired(SAMPLED * WINS), there)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_spin_rests_where_its_docstring_says(beta: float):
    """ref * (data / ref)^(1 / beta)."""
    there = policy(REF * (DATA / REF) ** (1 / beta))
    rests("spin", {"beta": beta}, paired(DATA[:, None] * REF[None, :]), there)


def test_online_dpo_with_soft_labels_rests_at_the_optimum_of_its_scores():
    there = policy(REF * (REWARDS / BETA).exp())
    batch, often = drawn(there)
    rests("online-dpo", {"beta": BETA, "labels": "soft"}, batch, there, often)


def test_online_ipo_with_soft_labels_rests_at_the_nash_equilibrium():
    """pi(y), proportional to ref(y) exp(P(y is preferred to a sample of pi) / beta)."""
    nash = REF
    for _ in range(500):
        nash = 0.5 * nash + 0.5 * torch.softmax(REF.log() + (WINS * nash).sum(1) / BETA, 0)
    there = policy(nash)
    batch, often = drawn(there)
    rests("online-dpo", {"beta": BETA, "labels": "soft", "loss": "ipo"}, batch, there, often)


def drawn(tables: Tables, size: int = 2) -> tuple[Batch, Tensor]:
    """Every draw of ``size`` completions of this policy."""
    return every_draw(WORLD.rollouts(tables, REFERENCE, REWARDS), WORLD.log_probs(tables.logits).detach().exp(), size)


@pytest.mark.parametrize("size", [2, 3])
def test_rejection_sampling_goes_to_the_best_of_k(size: int):
    """Of a batch of the sampler's, the exact solution: F(y)^K - F(just below y)^K."""
    batch, often = drawn(START, size)
    p = WORLD.log_probs(START.logits).detach().exp()
    order = REWARDS.argsort()
    below = p[order].cumsum(0)
    best = torch.zeros_like(p)
    best[order] = below**size - (below - p[order]).clamp(min=0.0) ** size
    rests("rejection", {}, batch, policy(best), often)


def thumbed() -> tuple[Batch, Tensor]:
    """Every sequence once with a thumb up and once down, and how often each comes."""
    up = REWARDS.sigmoid()
    twice = WORLD.all.select(torch.arange(COUNT).repeat(2))
    labels = torch.cat([torch.ones(COUNT), torch.zeros(COUNT)]).double()
    batch = replace(twice, groups=torch.arange(2 * COUNT)).with_columns(labels=labels)
    return batch, torch.cat([DATA * up, DATA * (1 - up)])


@pytest.mark.parametrize("good_weight", [1.0, 3.0])
def test_a_classifier_rests_at_the_log_odds(good_weight: float):
    """A good label that counts threefold moves them by log 3."""
    batch, often = thumbed()
    there = reward_model(REWARDS + math.log(good_weight))
    rests("reward-classifier", {"good_weight": good_weight}, batch, there, often)


def test_a_regression_rests_at_the_mean_label():
    batch, often = thumbed()
    rests("reward-classifier", {"label_loss": "squared"}, batch, reward_model(REWARDS.sigmoid()), often)


def grouped(draws: Sequence[tuple[int, ...]], pairs: Sequence[tuple[int, int]], weight: float) -> Batch:
    """Each draw of rows as a group, with these ``pairs`` of places in it."""
    size = len(draws[0])
    rows = torch.tensor(draws)
    starts = torch.arange(0, len(draws) * size, size)
    made = Pairs.of((starts[:, None, None] + torch.tensor(pairs)).reshape(-1, 2))
    made = replace(made, weights=torch.full((len(made),), weight)).to(torch.float64)
    batch = WORLD.all.select(rows.flatten())
    return replace(batch, groups=torch.arange(len(draws)).repeat_interleave(size), pairs=made)


@pytest.mark.parametrize("depth", [None, 1])
def test_a_model_of_rankings_rests_at_the_annotators_rewards(depth: int | None):
    """Every order of three completions, as often as Plackett and Luce say; also where the best alone counts."""
    draws = list(itertools.permutations(range(COUNT), 3))
    strength = REWARDS.exp()
    often: list[float] = []
    for a, b, c in draws:
        left = strength[b] + strength[c]
        often.append(float(DATA[[a, b, c]].prod() * strength[a] / (strength[a] + left) * strength[b] / left))
    batch = grouped(draws, [(0, 1), (0, 2), (1, 2)], 1 / 3)
    settings = {"centre": 0.0, "depth": depth}
    rests("reward-ranking", settings, batch, reward_model(REWARDS + 3.0), torch.tensor(often, dtype=torch.float64))


@pytest.mark.parametrize("objective", ["adversarial", "maximum-entropy"])
def test_the_reward_of_demonstrations_rests_at_their_log_ratio_to_the_samples(objective: str):
    """r = log(demonstrator / policy), every demonstration against every two samples, equal ones too."""
    draws = list(itertools.product(range(COUNT), repeat=3))
    often = torch.stack([DATA[a] * REF[b] * REF[c] for a, b, c in draws])
    batch = grouped(draws, [(0, 1), (0, 2)], 0.5)
    rests("inverse-rl", {"objective": objective, "centre": 0.0}, batch, reward_model((DATA / REF).log()), often)


def test_leaving_out_samples_that_equal_their_demonstration_moves_the_adversarial_reward():
    """Then it rests at log [d (1 - p)] / [p (1 - d)]: the same where both are small, as they are of long texts."""
    rows = torch.tensor(list(itertools.permutations(range(COUNT), 2)))
    often = DATA[rows[:, 0]] * REF[rows[:, 1]]
    batch = grouped(rows.tolist(), [(0, 1)], 1.0)
    there = (DATA * (1 - REF) / (REF * (1 - DATA))).log()
    rests("inverse-rl", {"centre": 0.0}, batch, reward_model(there), often)
    assert at("inverse-rl", {"centre": 0.0}, batch, reward_model((DATA / REF).log()), often) > 0.01
