"""K-choose-2 in one group against one pair a prompt, at as many answers read.

In both arms one simulated annotator of the same noise reads as many answers: 375 prompts with four answers ranked, or
750 prompts with two.  A step trains on 32 answers in both, so that both take as many steps.  Answers are the SFT
model's.  Rates and epochs are tuned over the same values, on the first seed, by the loss on each arm's own held-out
questions.  Accuracy is by the true preference, on pairs of answers to other films.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from assent.data.jsonl import write_completions
from assent.data.movie_world import utility
from assent.rewards.model import load_models
from assent.runs.manifest import read_manifest
from benchmarks.rewards.shared import RUN, SEEDS, Answers, sampled, shown, spread, stage

READ = 1500
RATES = (5e-4, 1e-3)
EPOCHS = (2, 4)
ARMS = {"grouped": 4, "pairs": 2}
NOISE = 1.0
TESTED = 1000
"""Prompts whose answers are kept for the test."""


def kwise() -> float:
    """The gain in accuracy of groups over pairs."""
    print("\nK-choose-2 in groups of four against one pair a prompt, both from", READ, "answers read")
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for seed in SEEDS:
        for arm in ARMS:
            found[arm].append(_accuracy(_trained(arm, seed)))
        print(f"seed {seed}: " + ", ".join(f"{arm} {values[-1]:.4f}" for arm, values in found.items()), flush=True)
    gains = [a - b for a, b in zip(found["grouped"], found["pairs"], strict=True)]
    mean, low, high = spread(gains)
    print(f"gain {mean:+.4f} ({low:+.4f} to {high:+.4f} over seeds); by seed {shown(gains)}", flush=True)
    return mean


def _trained(arm: str, seed: int) -> Path:
    folder = RUN / "kwise" / f"{arm}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    write_completions(folder / "asked.jsonl", _asked(arm, seed))
    person = {"name": "reader", "noise": NOISE, "tie_width": 0.0, "fail_below": -1000.0}
    asked = {
        "data": str(folder / "asked.jsonl"),
        "store": str(folder / "feedback.db"),
        "truth": "assent.data.movie_world:utility",
        "annotators": [person],
        "annotators_per_question": 1,
    }
    stage("collect", asked, folder / "collect", seed)
    pairs = stage("comparisons", {"data": str(folder / "collect/rankings.jsonl")}, folder / "comparisons", seed)
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
    settings = {
        "model": str(RUN / "sft"),
        "data": str(pairs / "train.jsonl"),
        "eval_data": str(pairs / "held_out.jsonl"),
        "batch_size": 32 // ARMS[arm],
        "num_train_epochs": epochs,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 5,
    }
    return stage("reward", settings, out, seed)


def _asked(arm: str, seed: int) -> Answers:
    """Of each prompt the first answers, prompts drawn by the seed from those that are not tested on."""
    size, answers = ARMS[arm], sampled()
    groups = [answers[i : i + 4] for i in range(0, len(answers) - 4 * TESTED, 4)]
    chosen = np.random.default_rng([seed, 7]).permutation(len(groups))[: READ // size]
    return [answer for place in chosen for answer in groups[place][:size]]


def _accuracy(folder: Path) -> float:
    """Share of pairs of different true utility that the reward model orders rightly, of answers to other films."""
    tested = sampled()[-4 * TESTED :]
    scores = load_models(str(folder)).score(*(list(part) for part in zip(*tested, strict=True))).values
    said = np.array(scores).reshape(-1, 4)
    true = np.array([utility(prompt, completion.text) for prompt, completion in tested]).reshape(-1, 4)
    i, j = np.triu_indices(4, 1)
    apart = true[:, i] != true[:, j]
    return float(((said[:, i] > said[:, j]) == (true[:, i] > true[:, j]))[apart].mean())
