"""Over-optimisation in the quickstart's world: a reward model of few rankings, optimised by PPO and by best of n.

Beside it a healthy run: the quickstart's own reward model, of all its rankings, and PPO with a KL penalty.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import assent
from assent.data.jsonl import write_jsonl
from assent.data.movie_world import utility
from assent.data.readers import read_prompts, read_rankings
from assent.evaluation.best_of_n import best_of_n, best_of_n_kl, powers_of_two
from assent.evaluation.kl import token_log_ratios
from assent.evaluation.over_optimisation import Curve
from assent.evaluation.tokens import token_logprobs
from assent.feedback.comparisons import comparisons_from_rankings
from assent.models.load import load_policy, load_reward_model
from assent.models.policy import Policy
from assent.pipeline.stage import NoProgress
from assent.rewards.model import ModelReward
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.training.sources import stream_places
from assent.types import Completion, Prompt, SamplingSettings

PROMPTS = 200
"""Held-out films; a policy is measured by one answer to each."""
SAMPLES = 512
"""Answers to each film that best of n chooses from."""
FILMS_AT_ONCE = 10
"""So many films' answers are held at a time."""
FEW = 60
"""Rankings of four answers that the small reward model learns from."""
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
REWARD: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 5,
    "num_train_epochs": 4,
    "eval_split": 0.0,
}


@dataclass(frozen=True)
class Runs:
    """The three curves of a seed."""

    greedy: Curve
    healthy: Curve
    best_of_n: Curve


class Bench:
    """The SFT policy, and the held-out films with what is measured on them."""

    def __init__(self, run: Path, films: int = PROMPTS) -> None:
        self.run = run
        self.prompts = read_prompts(run / "world/eval_prompts.jsonl")[:films]
        self.train_prompts = read_prompts(run / "world/train_prompts.jsonl")
        self.rankings = read_rankings(run / "collect/rankings.jsonl")
        self.sft = load_policy(run / "sft")

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

    def reward_model(self, rankings: int, seed: int) -> ModelReward:
        """A reward model from so many of the rankings, drawn by the seed."""
        draw = np.random.Generator(np.random.Philox(seed)).permutation(len(self.rankings))[:rankings]
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "train.jsonl"
            write_jsonl(data, comparisons_from_rankings([self.rankings[int(i)] for i in draw]))
            settings = {"model": str(self.run / "sft"), "data": str(data), **REWARD}
            out = silent("reward", settings, Path(folder) / "reward", seed)
            return ModelReward(load_reward_model(out), self.sft.tokenizer)


def true_preference(prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[float]:
    return [utility(p, c.text) for p, c in zip(prompts, answers, strict=True)]


def seed_curves(bench: Bench, seed: int, say: Callable[[str], None]) -> Runs:
    """Train the small reward model and the two policies of a seed, and measure them on the way.

    Each curve is kept in the run's folder, for a call that goes on where this one was stopped.
    """
    whole = ModelReward(load_reward_model(bench.run / "reward"), bench.sft.tokenizer)

    def keep(name: str, make: Callable[[], Curve]) -> Curve:
        return _kept(bench.run / f"evidence/seed-{seed}-{name}.npz", make)

    return Runs(
        best_of_n=keep("best-of-n", lambda: best_of_n_curves(bench, [bench.reward_model(FEW, seed)], seed)[0]),
        greedy=keep(
            "greedy",
            lambda: _ppo(
                bench, bench.reward_model(FEW, seed), seed, GREEDY, lambda t: say(f"seed {seed}, no penalty: {t}")
            ),
        ),
        healthy=keep("healthy", lambda: _ppo(bench, whole, seed, HEALTHY, lambda t: say(f"seed {seed}, healthy: {t}"))),
    )


def _kept(path: Path, make: Callable[[], Curve]) -> Curve:
    if not path.exists():
        curve = make()
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **vars(curve))
        return curve
    with np.load(path) as found:
        return Curve(tuple(map(str, found["labels"])), found["kl"], found["proxy"], found["gold"])


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


def best_of_n_curves(bench: Bench, rewards: Sequence[ModelReward], seed: int) -> list[Curve]:
    """Best of n by each of the reward models, from the same answers."""
    proxies: list[list[NDArray[np.float64]]] = [[] for _ in rewards]
    golds: list[NDArray[np.float64]] = []
    for start in range(0, len(bench.prompts), FILMS_AT_ONCE):
        asked = bench.prompts[start : start + FILMS_AT_ONCE]
        answers = bench.answers(bench.sft, SAMPLES, 1000 + seed, asked)
        prompts = [prompt for prompt in asked for _ in range(SAMPLES)]
        shape = (len(asked), SAMPLES)
        golds.append(np.reshape(true_preference(prompts, answers), shape))
        for found, reward in zip(proxies, rewards, strict=True):
            found.append(np.reshape(reward.score(prompts, answers).values, shape))
    gold, every = np.concatenate(golds), powers_of_two(SAMPLES)
    return [
        Curve(
            labels=tuple(map(str, every)),
            kl=np.array([np.full(len(gold), best_of_n_kl(n)) for n in every]),
            proxy=np.array([best_of_n(proxy, proxy, n) for n in every]),
            gold=np.array([best_of_n(proxy, gold, n) for n in every]),
        )
        for proxy in map(np.concatenate, proxies)
    ]


def silent(kind: str, settings: dict[str, Any], out: Path, seed: int) -> Path:
    return assent.run_stage(kind, settings, out, seed=seed, say=lambda text: None, progress=NoProgress())
