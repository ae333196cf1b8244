"""K-choose-2 in one group against one pair a prompt, at as many answers read.

In both arms one simulated annotator of the same noise reads as many answers: 375 prompts with four answers ranked, or
750 prompts with two.  A step trains on 32 answers in both, so that both take as many steps.  Answers are the SFT
model's.  Rates and epochs are tuned over the same values, on the first seed, by the loss on each arm's own held-out
questions.  Accuracy is by the true preference, on pairs of answers to other films.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from assent.data.movie_world import utility
from assent.rewards.model import load_models
from assent.runs.manifest import read_manifest
from benchmarks.rewards.shared import RUN, Answers, comparisons, gained, groups, reward_model, sampled

SEEDS = tuple(range(7))
"""Three have decided it on one processor of three."""
READ = 1500
RATES = (5e-4, 1e-3)
EPOCHS = (2, 4)
ARMS = {"grouped": 4, "pairs": 2}
NOISE = 1.0
TESTED = 1000
"""Prompts whose answers are kept for the test."""


def measure(seed: int) -> dict[str, float]:
    """Accuracy of each arm."""
    return {arm: _accuracy(_trained(arm, seed)) for arm in ARMS}


def report(found: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """The gain in accuracy of groups over pairs."""
    print("K-choose-2 in groups of four against one pair a prompt, both from", READ, "answers read")
    for seed, each in found.items():
        print(f"seed {seed}: " + ", ".join(f"{arm} {each[arm]:.4f}" for arm in ARMS))
    return {"kwise_gain": gained("grouped over pairs", [each["grouped"] - each["pairs"] for each in found.values()], 4)}


def _trained(arm: str, seed: int) -> Path:
    folder = RUN / "kwise" / f"{arm}-{seed}"
    utility_of = "assent.data.movie_world:utility"
    pairs = comparisons(_asked(arm, seed), folder, seed, utility_of, noise=NOISE, tie_width=0.0)
    grid = list(product(RATES, EPOCHS))
    if seed != SEEDS[0]:
        grid = [min(grid, key=lambda each: _loss(RUN / "kwise" / f"{arm}-{SEEDS[0]}" / _name(*each)))]
    made = [_reward(pairs, arm, rate, epochs, folder / _name(rate, epochs), seed) for rate, epochs in grid]
    return min(made, key=_loss)


def _name(rate: float, epochs: int) -> str:
    return f"reward-{rate:g}-{epochs}"


def _loss(folder: Path) -> float:
    return float(read_manifest(folder).metrics["eval_loss"])


def _reward(pairs: Path, arm: str, rate: float, epochs: int, out: Path, seed: int) -> Path:
    shared = {"eval_data": f"{pairs}/held_out.jsonl", "batch_size": 32 // ARMS[arm]}
    return reward_model(pairs / "train.jsonl", out, seed, **shared, num_train_epochs=epochs, learning_rate=rate)


def _asked(arm: str, seed: int) -> list[Answers]:
    """Of each prompt the first answers, prompts drawn by the seed from those that are not tested on."""
    size, known = ARMS[arm], groups()[:-TESTED]
    chosen = np.random.default_rng([seed, 7]).permutation(len(known))[: READ // size]
    return [known[place][:size] for place in chosen]


def _accuracy(folder: Path) -> float:
    """Share of pairs of different true utility that the reward model orders rightly, of answers to other films."""
    tested = sampled()[-4 * TESTED :]
    scores = load_models(str(folder)).score(*(list(part) for part in zip(*tested, strict=True))).values
    said = np.array(scores).reshape(-1, 4)
    true = np.array([utility(prompt, completion.text) for prompt, completion in tested]).reshape(-1, 4)
    i, j = np.triu_indices(4, 1)
    apart = true[:, i] != true[:, j]
    return float(((said[:, i] > said[:, j]) == (true[:, i] > true[:, j]))[apart].mean())
