"""Active selection against random: how many answers the same reward model takes.

The pool is four of the SFT model's answers to each of the prompts, to be ranked.  Random asks half of it.  The others
ask in batches, the first of them random, each batch chosen by the reward model of the answers before it.  Accuracy is
by the true preference, without noise, on pairs of films that no pool has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from assent.data.movie_world import film_prompt, sample_films, utility
from assent.data.readers import read_completions
from assent.data.scored import Scored, by_prompt
from assent.rewards.model import load_models
from assent.types import to_json
from benchmarks.rounds.shared import RUN, SEEDS, shown, spread, stage

POOL, BATCH, MOST = 600, 45, 180
JUDGED, EACH = 600, 6
"""Prompts of the evaluation, and answers to each: 9,000 pairs, those of equal truth apart."""
ANNOTATORS = [
    {"name": "ann", "noise": 0.3, "tie_width": 0.2, "fail_below": -3.0},
    {"name": "bo", "noise": 0.6, "tie_width": 0.3, "fail_below": -3.0},
    {"name": "cy", "noise": 1.0, "tie_width": 0.3, "fail_below": -3.0, "position_bias": 0.2},
]
REWARD = {"batch_size": 16, "num_train_epochs": 3, "learning_rate": 1e-3, "lr_scheduler_type": "cosine"}
METHODS: dict[str, dict[str, Any]] = {
    "information_gain": {"method": "information_gain"},
    "near_ties": {"method": "near_ties"},
    "coverage": {"method": "coverage"},
    "disagreement": {"method": "disagreement", "members": 4},
}
HOME = RUN / "selection"


def selection(methods: Sequence[str], seeds: Sequence[int] = SEEDS) -> float | None:
    """Share of random's answers with which information gain reaches random's accuracy, both over all seeds."""
    half = POOL // 2
    print(f"\nA reward model from a pool of {POOL} questions; random asks {half}")
    random = [accuracy(_random(seed, half)) for seed in seeds]
    mean, low, high = spread(random)
    print(
        f"random, {half} answers: {mean:.4f} ({low:.4f} to {high:.4f} over seeds); by seed {shown(random)}", flush=True
    )
    few = [accuracy(_random(seed, MOST)) for seed in seeds]
    print(f"random, {MOST} answers: {spread(few)[0]:.4f}; by seed {shown(few)}", flush=True)
    shares: dict[str, float | None] = {}
    for name in methods:
        shares[name] = None
        for answers in range(2 * BATCH, MOST + 1, BATCH):
            found = [accuracy(_active(name, seed, answers)) for seed in seeds]
            gain, low, high = spread([a - b for a, b in zip(found, random, strict=True)])
            print(
                f"{name}, {answers} answers: {np.mean(found):.4f}, {gain:+.4f} ({low:+.4f} to {high:+.4f}) on random's "
                f"{half}; by seed {shown(found)}",
                flush=True,
            )
            if gain >= 0 and shares[name] is None:
                shares[name] = answers / half
    print("share of random's answers:", shares)
    return shares.get("information_gain")


def _pool(seed: int) -> Path:
    return _sampled(HOME / f"pool-{seed}", POOL, False, 4, seed)


def _sampled(folder: Path, prompts: int, held_out: bool, n: int, seed: int) -> Path:
    """The SFT model's answers to prompts of its own."""
    file = folder.with_suffix(".jsonl")
    if not file.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        films = sample_films(prompts, held_out, 1000 + seed)
        rows = [film_prompt(film, f"{folder.name}-{i}") for i, film in enumerate(films)]
        file.write_text("".join(json.dumps(to_json(row)) + "\n" for row in rows), encoding="utf-8")
    settings = {"model": str(RUN / "sft"), "data": str(file), "n": n, "max_new_tokens": 64}
    return stage("sample", settings, folder, seed) / "completions.jsonl"


def _random(seed: int, answers: int) -> Path:
    """The reward model of so many answers to questions drawn by chance."""
    home = HOME / f"random-{answers}-{seed}"
    chosen = {"data": str(_pool(seed)), "method": "random", "ask": "prompts", "answers": answers}
    stage("select", chosen, home / "select", seed)
    return _learned(home, [_answered(home, seed)], seed)


def _active(name: str, seed: int, answers: int) -> Path:
    """The reward model of so many answers, asked in batches."""
    home = HOME / f"{name}-{answers}-{seed}"
    members = METHODS[name].get("members", 1)
    if answers == BATCH:
        chosen: dict[str, Any] = {"data": str(_pool(seed)), "method": "random", "ask": "prompts", "answers": BATCH}
    else:
        before = _active(name, seed, answers - BATCH)
        earlier = [str(HOME / f"{name}-{n}-{seed}" / "collect/rankings.jsonl") for n in range(BATCH, answers, BATCH)]
        how = {key: value for key, value in METHODS[name].items() if key != "members"}
        chosen = {"data": str(_pool(seed)), "reward": str(before), "asked": earlier, **how}
        chosen |= {"ask": "prompts", "answers": BATCH}
    stage("select", chosen, home / "select", seed)
    _answered(home, seed)
    asked = [HOME / f"{name}-{n}-{seed}" / "collect/rankings.jsonl" for n in range(BATCH, answers + 1, BATCH)]
    return _learned(home, asked, seed, members)


def _answered(home: Path, seed: int) -> Path:
    asked = {
        "data": str(home / "select/completions.jsonl"),
        "store": str(home / "feedback.db"),
        "truth": "assent.data.movie_world:utility",
        "annotators": ANNOTATORS,
    }
    return stage("collect", asked, home / "collect", seed) / "rankings.jsonl"


def _learned(home: Path, answers: Sequence[Path], seed: int, members: int = 1) -> Path:
    every = stage("join", {"data": [str(path) for path in answers]}, home / "answers", seed)
    pairs = {"data": str(every / "rows.jsonl"), "held_out": 0.0}
    stage("comparisons", pairs, home / "comparisons", seed)
    settings = {"model": str(RUN / "sft"), "data": str(home / "comparisons/train.jsonl"), **REWARD}
    more = {"members": members, "ensemble": "heads"} if members > 1 else {}
    return stage("reward", {**settings, **more}, home / "reward", seed)


def accuracy(reward: Path) -> float:
    """By the true preference, on the pairs of held-out films whose truth differs."""
    kept = reward.parent / "accuracy.json"
    if not kept.exists():
        rows = read_completions(_sampled(HOME / "judged", JUDGED, True, EACH, 0))
        scores = load_models(str(reward)).score([p for p, _ in rows], [c for _, c in rows]).values
        kept.write_text(json.dumps(_right(rows, scores)), encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    assert found["pairs"] >= 5000
    return float(found["accuracy"])


def _right(rows: Sequence[Scored], scores: Sequence[float]) -> dict[str, float]:
    place = {id(row): i for i, row in enumerate(rows)}
    right: list[float] = []
    for group in by_prompt(rows):
        for one, two in combinations(group, 2):
            truth = utility(one[0], one[1].text) - utility(two[0], two[1].text)
            if truth:
                gap = scores[place[id(one)]] - scores[place[id(two)]]
                right.append(0.5 if gap == 0 else float((gap > 0) == (truth > 0)))
    return {"accuracy": float(np.mean(right)), "pairs": len(right)}
