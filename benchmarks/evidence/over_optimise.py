"""Over-optimisation in the quickstart's world: a reward model of few noisy rankings, optimised by PPO and by best of n.

Beside it a healthy run: the quickstart's own reward model, of all its rankings, and PPO with a KL penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import assent
from assent.data.movie_world import utility
from assent.data.readers import read_prompts
from assent.evaluation.best_of_n import best_of_n, best_of_n_kl, powers_of_two
from assent.evaluation.kl import token_log_ratios
from assent.evaluation.over_optimisation import Curve
from assent.evaluation.tokens import token_logprobs
from assent.models.load import load_policy, load_reward_model
from assent.models.policy import Policy
from assent.rewards.model import ModelReward
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.training.sources import stream_places
from assent.types import Completion, Prompt, SamplingSettings
from benchmarks.evidence.small_reward import Data, small_reward

PROMPTS = 200
"""Held-out films; a policy is measured by one answer to each."""
FILMS = 100
"""The first of them, for best of n."""
SAMPLES = 1024
"""Answers to each film that best of n chooses from."""
FILMS_AT_ONCE = 25
"""So many films' answers are held at a time."""
FEW = Data(rankings=60, noise=2.0)
"""What a small reward model learns from: of what ``--data`` tries, that with which best of n falls on every seed."""
MODELS = 6
"""Small reward models of a seed, each from rankings drawn for itself.  Best of n is the mean over them, as that of Gao
et al. 2022 is over seeds of a reward model: which way a single one errs, and from which n on, is the luck of its draw.
PPO, which turns with each, optimises the first."""
BATCH = 128
MEASURED = (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40)
"""Steps after which the policy is measured; the last one ends the training."""
ROLLOUT: dict[str, Any] = {"epochs": 2, "minibatches": 2, "max_new_tokens": 64, "learning_rate": 3e-4}
GREEDY: dict[str, Any] = {**ROLLOUT, "kl_coefficient": 0.0, "missing_eos_penalty": 1.0}
"""PPO with nothing that holds it to the SFT policy."""
HEALTHY: dict[str, Any] = {
    **ROLLOUT,
    "kl_coefficient": 0.1,
    "kl_target": 4.0,
    "kl_horizon": 5000,
    "missing_eos_penalty": 1.0,
}
"""As the quickstart does it."""


@dataclass(frozen=True)
class Runs:
    """The three curves of a seed."""

    greedy: Curve
    healthy: Curve
    best_of_n: Curve


class Bench:
    """The SFT policy, and the held-out films with what is measured on them."""

    def __init__(self, run: Path, films: slice = slice(PROMPTS)) -> None:
        self.run = run
        self.prompts = read_prompts(run / "world/eval_prompts.jsonl")[films]
        self.train_prompts = read_prompts(run / "world/train_prompts.jsonl")
        self.sft = load_policy(run / "sft")
        self.small_reward = cache(self._small_reward)

    def _small_reward(self, seed: int, model: int = 0) -> ModelReward:
        return small_reward(self.run, FEW, seed + 1000 * model, self.sft.tokenizer)

    def answers(
        self, policy: Policy, n: int = 1, seed: int = 20, prompts: Sequence[Prompt] | None = None
    ) -> list[Completion]:
        asked = self.prompts if prompts is None else prompts
        encoded = [EncodedPrompt(p.id, tuple(policy.tokenizer(p.text).input_ids)) for p in asked]
        return LocalEngine(policy).generate(encoded, SamplingSettings(max_new_tokens=64, seed=seed), n)

    def measured(self, policy: Policy, reward: ModelReward) -> tuple[list[float], list[float], list[float]]:
        """KL from the SFT policy, the reward model's score and the true preference, of an answer to each film."""
        answers = self.answers(policy)
        ours, refs = (token_logprobs(model, answers, 1.0) for model in (policy, self.sft))
        kl = [sum(token_log_ratios(o, r)) for o, r in zip(ours, refs, strict=True)]
        return kl, list(reward.score(self.prompts, answers).values), true_preference(self.prompts, answers)

    def whole_reward(self) -> ModelReward:
        """The quickstart's own, of all its rankings."""
        return ModelReward(load_reward_model(self.run / "reward"), self.sft.tokenizer)


def true_preference(prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[float]:
    return [utility(p, c.text) for p, c in zip(prompts, answers, strict=True)]


def seed_curves(bench: Bench, seeds: Sequence[int], say: Callable[[str], None]) -> list[Runs]:
    """Of each seed two policies measured on their way, and best of n.

    What is measured is kept in the run's folder, for a call that goes on where this one was stopped.
    """
    for unit in units(bench, seeds, say):
        unit()
    return [
        Runs(greedy_curve(bench, seed, say), healthy_curve(bench, seed, say), best_of_n_curve(bench, seed))
        for seed in seeds
    ]


def units(bench: Bench, seeds: Sequence[int], say: Callable[[str], None]) -> list[Callable[[], object]]:
    """The work in pieces of some minutes, each of which keeps what it made: processes side by side take some each."""
    return [
        *(partial(greedy_curve, bench, seed, say) for seed in seeds),
        *(partial(healthy_curve, bench, seed, say) for seed in seeds),
        *(partial(_scores, bench, seed, start) for seed in seeds for start in range(0, FILMS, FILMS_AT_ONCE)),
    ]


def greedy_curve(bench: Bench, seed: int, say: Callable[[str], None]) -> Curve:
    """PPO without a penalty against the small reward model."""
    path = bench.run / f"evidence/seed-{seed}-{FEW}-greedy.npz"
    say = _said(say, f"seed {seed}, no penalty")
    return _kept_curve(path, lambda: _ppo(bench, bench.small_reward(seed), seed, GREEDY, say))


def healthy_curve(bench: Bench, seed: int, say: Callable[[str], None]) -> Curve:
    """PPO as the quickstart does it, against its reward model of all rankings."""
    path = bench.run / f"evidence/seed-{seed}-healthy.npz"
    say = _said(say, f"seed {seed}, healthy")
    return _kept_curve(path, lambda: _ppo(bench, bench.whole_reward(), seed, HEALTHY, say))


def _said(say: Callable[[str], None], who: str) -> Callable[[str], None]:
    return lambda text: say(f"{who}: {text}")


def _kept_curve(path: Path, make: Callable[[], Curve]) -> Curve:
    found = kept(path, lambda: vars(make()))
    return Curve(tuple(map(str, found["labels"])), found["kl"], found["proxy"], found["gold"])


def kept(path: Path, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, NDArray[Any]]:
    """Arrays that are made once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part := path.with_suffix(".part.npz"), **make())
        part.rename(path)
    with np.load(path) as found:
        return dict(found)


def _ppo(bench: Bench, reward: ModelReward, seed: int, settings: dict[str, Any], say: Callable[[str], None]) -> Curve:
    trainer = assent.Trainer(bench.run / "sft", "ppo", seed=seed, say=lambda text: None, **settings)
    rows = [bench.measured(trainer.model, reward)]
    for step in range(MEASURED[-1]):
        batch = [bench.train_prompts[i] for i in stream_places(len(bench.train_prompts), BATCH, seed, step)]
        completions = trainer.generate(batch)
        trainer.step(batch, completions, reward.score(batch, completions).values)
        if step + 1 in MEASURED:
            rows.append(bench.measured(trainer.model, reward))
            kl, proxy, gold = (np.mean(column) for column in rows[-1])
            say(f"step {step + 1}: KL {kl:.2f}, proxy {proxy:.2f}, gold {gold:.2f}")
    labels = ("0", *map(str, MEASURED))
    kl, proxy, gold = (np.array(column) for column in zip(*rows, strict=True))
    return Curve(labels, kl, proxy, gold)


def best_of_n_curve(bench: Bench, seed: int) -> Curve:
    """Best of n by each of the seed's small reward models, n to :data:`SAMPLES`: the mean of their curves."""
    every = [_scores(bench, seed, start) for start in range(0, FILMS, FILMS_AT_ONCE)]
    gold = np.concatenate([films["gold"] for films in every])
    return mean_curve([
        chosen_curve(np.concatenate([films[str(model)] for films in every]), gold) for model in range(MODELS)
    ])  # fmt: skip


def _scores(bench: Bench, seed: int, start: int) -> Mapping[str, NDArray[np.float64]]:
    """Every answer to some of the films, as the true preference (``gold``) and each reward model score it."""

    def make() -> Mapping[str, Any]:
        asked = bench.prompts[:FILMS][start : start + FILMS_AT_ONCE]
        answers = bench.answers(bench.sft, SAMPLES, 1000 + seed, asked)
        prompts = [prompt for prompt in asked for _ in range(SAMPLES)]
        scores = {str(model): bench.small_reward(seed, model).score(prompts, answers).values for model in range(MODELS)}
        scored = {"gold": true_preference(prompts, answers), **scores}
        return {name: np.reshape(values, (len(asked), SAMPLES)) for name, values in scored.items()}

    return kept(bench.run / f"evidence/best-of-{SAMPLES}/seed-{seed}-{FEW}-films-{start}.npz", make)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over reward models, film by film."""
    golds = [curve.gold for curve in curves if curve.gold is not None]
    return replace(curves[0], proxy=np.mean([curve.proxy for curve in curves], 0), gold=np.mean(np.array(golds), 0))


def chosen_curve(proxy: NDArray[np.float64], gold: NDArray[np.float64]) -> Curve:
    """Best of n at powers of two, from the two scores of every answer [films, answers]."""
    every = powers_of_two(proxy.shape[1])
    return Curve(
        labels=tuple(map(str, every)),
        kl=np.array([np.full(len(gold), best_of_n_kl(n)) for n in every]),
        proxy=np.array([best_of_n(proxy, proxy, n) for n in every]),
        gold=np.array([best_of_n(proxy, gold, n) for n in every]),
    )
