"""Every algorithm raises its own objective on a toy policy (or reward model), from samples, on three seeds.

The objective is summed over all sequences; what the algorithm learns from is a few dozen samples a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from assent.algorithms import ALGORITHMS, load_algorithm
from assent.algorithms.batch import Batch, Pairs
from tests.exact.world import Tables, World, update

WORLD = World(horizon=2)
BETA = 0.2


class Toy:
    """A policy that starts as its reference, rewards, and someone who demonstrates."""

    def __init__(self, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        start = WORLD.tables(10 + seed)
        self.reference = start.logits.detach().clone()
        self.trained = [t.detach().requires_grad_() for t in (start.logits, start.values * 0, start.scores * 0)]
        self.tables = Tables(*self.trained)
        self.rewards = WORLD.rewards(20 + seed, scale=1.5)
        self.demonstrator = WORLD.log_probs(WORLD.tables(30 + seed).logits).detach().exp()

    @property
    def sampler(self) -> Tensor:
        """[N] probabilities of the reference."""
        return WORLD.log_probs(self.reference).exp()

    def sample(self, probabilities: Tensor, count: int) -> Tensor:
        return torch.multinomial(probabilities, count, replacement=True, generator=self.draw)

    def annotated(self, rows: Tensor, groups: Tensor) -> Batch:
        """These sequences, with all columns that are computed or scored, as the policy is now."""
        batch = WORLD.rollouts(self.tables, self.reference, self.rewards).select(rows)
        return replace(batch, groups=groups)


def rollouts(toy: Toy) -> Batch:
    """Four completions of each of eight prompts that are alike."""
    now = WORLD.log_probs(toy.tables.logits).detach().exp()
    return toy.annotated(toy.sample(now, 32), torch.arange(8).repeat_interleave(4))


def demonstrations(toy: Toy) -> Batch:
    return toy.annotated(toy.sample(toy.demonstrator, 32), torch.arange(32))


def rankings(toy: Toy) -> Batch:
    """Sixteen rankings of three samples of the reference, by an annotator who errs as Plackett and Luce say."""
    rows = toy.sample(toy.sampler, 48).reshape(16, 3)
    noise = -torch.empty(16, 3, dtype=torch.float64).exponential_(generator=toy.draw).log()
    order = (toy.rewards[rows] + noise).argsort(1, descending=True)
    rows = rows.gather(1, order).flatten()
    pairs = (torch.arange(0, 48, 3)[:, None, None] + torch.tensor([[0, 1], [0, 2], [1, 2]])).reshape(-1, 2)
    batch = toy.annotated(rows, torch.arange(16).repeat_interleave(3))
    return replace(batch, pairs=Pairs.of(pairs, torch.full((48,), 1 / 3)).to(torch.float64))


def judgements(toy: Toy) -> Batch:
    """Thumbs for 32 samples of the reference, the better the likelier to be up."""
    rows = toy.sample(toy.sampler, 32)
    chance = torch.rand(32, generator=toy.draw, dtype=torch.float64)
    batch = toy.annotated(rows, torch.arange(32))
    return batch.with_columns(labels=(chance < toy.rewards[rows].sigmoid()).double())


def judgements_and_mismatched(toy: Toy) -> Batch:
    """The same, and as many completions from elsewhere for KTO's baseline."""
    batch = judgements(toy)
    others = toy.annotated(toy.sample(toy.sampler, 32), torch.arange(32))
    both = toy.annotated(torch.cat([rows_of(batch), rows_of(others)]), torch.arange(64))
    labels = torch.cat([batch["labels"], torch.zeros(32, dtype=torch.float64)])
    return both.with_columns(labels=labels, mismatched=(torch.arange(64) >= 32).double())


def rows_of(batch: Batch) -> Tensor:
    """Which sequence each row is."""
    width = batch.tokens.shape[1]
    same = (batch.tokens[:, None, :] == WORLD.all.tokens[None, :, :width]).all(2)
    return same.long().argmax(1)


def contrasts(toy: Toy) -> Batch:
    """Sixteen demonstrations, each chosen over two samples of the reference."""
    shown, drawn = toy.sample(toy.demonstrator, 16)[:, None], toy.sample(toy.sampler, 32).reshape(16, 2)
    batch = toy.annotated(torch.cat([shown, drawn], 1).flatten(), torch.arange(16).repeat_interleave(3))
    pairs = (torch.arange(0, 48, 3)[:, None, None] + torch.tensor([[0, 1], [0, 2]])).reshape(-1, 2)
    return replace(batch, pairs=Pairs.of(pairs, torch.full((32,), 0.5)).to(torch.float64))


def reward(toy: Toy) -> float:
    """E[r]."""
    return float((WORLD.log_probs(toy.tables.logits).detach().exp() * toy.rewards).sum())


def penalised(toy: Toy) -> float:
    """E[r] - beta KL(policy || reference)."""
    return WORLD.objective(toy.tables.logits, toy.reference, toy.rewards, BETA).item()


def likelihood(toy: Toy) -> float:
    """The mean log-probability of a demonstration."""
    return float((toy.demonstrator * WORLD.log_probs(toy.tables.logits).detach()).sum())


def scores(toy: Toy) -> Tensor:
    return WORLD.forward(toy.tables, WORLD.all).scores[:, 0].detach()


def choices(toy: Toy) -> float:
    """The mean log-probability that the reward model gives to what is chosen of two samples."""
    gap, true = (s[:, None] - s[None, :] for s in (scores(toy), toy.rewards))
    return float((toy.sampler[:, None] * toy.sampler * true.sigmoid() * F.logsigmoid(gap)).sum() * 2)


def thumbs(toy: Toy) -> float:
    """The mean log-probability that it gives to a label."""
    up, given = toy.rewards.sigmoid(), scores(toy)
    return float((toy.sampler * (up * F.logsigmoid(given) + (1 - up) * F.logsigmoid(-given))).sum())


def told_apart(toy: Toy) -> float:
    """The mean log-probability of the right answer to: which of the two is the demonstration?"""
    gap = scores(toy)[:, None] - scores(toy)[None, :]
    return float((toy.demonstrator[:, None] * toy.sampler * F.logsigmoid(gap)).sum())


@dataclass(frozen=True)
class Trial:
    """What an algorithm learns from, what it is to raise, and by how much at least."""

    data: Callable[[Toy], Batch]
    objective: Callable[[Toy], float]
    least: float
    settings: dict[str, Any] = field(default_factory=dict)
    epochs: int = 1


KL = {"kl_coefficient": BETA}
TRIALS = {
    "sft": Trial(demonstrations, likelihood, 0.2),
    "spin": Trial(contrasts, likelihood, 0.1, {"beta": 1.0}),
    "reward": Trial(rankings, choices, 0.03),
    "reward-ranking": Trial(rankings, choices, 0.03),
    "reward-classifier": Trial(judgements, thumbs, 0.03),
    "inverse-rl": Trial(contrasts, told_apart, 0.1),
    "dpo": Trial(rankings, penalised, 0.2, {"beta": BETA}),
    "kto": Trial(judgements_and_mismatched, reward, 0.4),
    "orpo": Trial(rankings, reward, 0.25),
    "simpo": Trial(rankings, reward, 0.6),
    "cpo": Trial(rankings, reward, 0.25),
    "ppo": Trial(rollouts, penalised, 0.6, KL, epochs=2),
    "reinforce": Trial(rollouts, penalised, 0.5, KL, epochs=2),
    "rloo": Trial(rollouts, penalised, 0.5, KL, epochs=2),
    "grpo": Trial(rollouts, reward, 0.6, epochs=2),
    "ppo-sequence": Trial(rollouts, penalised, 0.4, {"reward_weight": 1.0, "kl_weight": BETA}, epochs=2),
    "kl-control": Trial(rollouts, penalised, 0.6, KL, epochs=2),
    "rebel": Trial(rollouts, penalised, 0.4, KL, epochs=2),
    "online-dpo": Trial(rollouts, penalised, 0.6, {"beta": BETA, "labels": "soft"}, epochs=2),
    "rejection": Trial(rollouts, reward, 0.9, epochs=2),
    "expert-iteration": Trial(rollouts, reward, 0.7, epochs=2),
}


def test_every_algorithm_has_a_trial():
    assert set(ALGORITHMS) == set(TRIALS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_raises_its_own_objective(name: str, seed: int):
    before, after = learn(name, seed)
    assert after - before > TRIALS[name].least


def learn(name: str, seed: int, steps: int = 30, rate: float = 0.1) -> tuple[float, float]:
    """The objective before and after ``steps`` batches under Adam."""
    trial, algorithm, toy = TRIALS[name], load_algorithm(name), Toy(seed)
    settings = algorithm.Settings(**trial.settings)
    optimizer = torch.optim.Adam(toy.trained, lr=rate)
    state, before = algorithm.initial_state(settings), trial.objective(toy)
    for _ in range(steps):
        prepared, state, _ = algorithm.prepare(trial.data(toy), settings, state)
        for _ in range(trial.epochs):
            optimizer.zero_grad()
            update(WORLD, algorithm, settings, toy.tables, prepared).backward()
            optimizer.step()
    return before, trial.objective(toy)
