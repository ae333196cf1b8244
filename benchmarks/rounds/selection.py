"""Active selection against random: how many answers the same reward model takes.

A pool is the SFT model's answers to prompts; a question has four of a prompt's ranked; random asks about half of the
prompts.  ``spread`` chooses which four of sixteen to show, all at once, before anybody was asked.  The other methods
choose prompts by the reward model of the answers before, in batches, the first of them random; there each prompt has
four answers.  Accuracy is by the true preference, without noise, on pairs of films that no pool has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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

JUDGED, EACH = 600, 6
"""Prompts of the evaluation, and answers to each: 9,000 pairs, those of equal truth apart."""
ANNOTATORS = [
    {"name": "ann", "noise": 0.3, "tie_width": 0.2, "fail_below": -3.0},
    {"name": "bo", "noise": 0.6, "tie_width": 0.3, "fail_below": -3.0},
    {"name": "cy", "noise": 1.0, "tie_width": 0.3, "fail_below": -3.0, "position_bias": 0.2},
]
REWARD = {"batch_size": 16, "learning_rate": 1e-3, "lr_scheduler_type": "cosine"}


@dataclass(frozen=True)
class Pool:
    """What could be asked, and with how many answers a method tries to reach what random reaches with half of it."""

    name: str
    prompts: int
    each: int
    tried: tuple[int, ...]
    epochs: int
    """Passes of the reward model, in all arms."""

    @property
    def half(self) -> int:
        return self.prompts // 2


SMALL = Pool("small", 200, 16, (60, 80), 4)  # of 4, 8 and 16 passes random did best with 4, on seeds 100 to 103
LARGE = Pool("large", 600, 4, (90, 135, 180), 3)
SHOWN, BATCH = 4, 45
METHODS: dict[str, dict[str, Any]] = {
    "spread": {"method": "spread"},
    "information_gain": {"method": "information_gain"},
    "near_ties": {"method": "near_ties"},
    "coverage": {"method": "coverage"},
    "disagreement": {"method": "disagreement", "members": 4},
}
HOME = RUN / "selection"


def selection(methods: Sequence[str], seeds: Sequence[int] = SEEDS) -> float | None:
    """The least share of random's answers with which one of the methods reaches random's accuracy, over all seeds."""
    shares = {name: _share(name, SMALL if name == "spread" else LARGE, seeds) for name in methods}
    print("share of random's answers:", shares)
    return min((share for share in shares.values() if share is not None), default=None)


def _share(name: str, pool: Pool, seeds: Sequence[int]) -> float | None:
    print(f"\n{name}: a reward model from {pool.prompts} prompts with {pool.each} answers; random asks {pool.half}")
    random = {
        answers: [accuracy(_random(pool, seed, answers)) for seed in seeds] for answers in (*pool.tried, pool.half)
    }
    for answers, found in random.items():
        mean, low, high = spread(found)
        print(f"random, {answers} answers: {mean:.4f} ({low:.4f} to {high:.4f} over seeds); by seed {shown(found)}")
    share = None
    for answers in pool.tried:
        found = [accuracy(_chosen(name, pool, seed, answers)) for seed in seeds]
        ahead, behind = _over(found, random[answers]), _over(found, random[pool.half])
        print(f"{name}, {answers} answers: {np.mean(found):.4f}, {ahead} on as many at random, {behind} on random's "
              f"{pool.half}; by seed {shown(found)}", flush=True)  # fmt: skip
        if share is None and np.mean(found) >= np.mean(random[pool.half]):
            share = answers / pool.half
    return share


def _over(found: Sequence[float], other: Sequence[float]) -> str:
    mean, low, high = spread([a - b for a, b in zip(found, other, strict=True)])
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def _answers(pool: Pool, seed: int) -> Path:
    return _sampled(HOME / f"pool-{pool.name}-{seed}", pool.prompts, False, pool.each, seed)


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


def _question(pool: Pool, seed: int, answers: int) -> dict[str, Any]:
    """Settings of ``select`` that all methods share."""
    shown = {"show": SHOWN} if pool.each > SHOWN else {}
    return {"data": str(_answers(pool, seed)), "ask": "prompts", "answers": answers, **shown}


def _random(pool: Pool, seed: int, answers: int) -> Path:
    """The reward model of so many answers to questions drawn by chance."""
    home = HOME / f"random-{pool.name}-{answers}-{seed}"
    stage("select", {**_question(pool, seed, answers), "method": "random"}, home / "select", seed)
    return _learned(home, [_answered(home, seed)], pool, seed)


def _chosen(name: str, pool: Pool, seed: int, answers: int) -> Path:
    """The reward model of so many answers to questions that a method chooses."""
    if name != "spread":
        return _in_batches(name, pool, seed, answers)
    home = HOME / f"spread-{answers}-{seed}"
    chosen = {**_question(pool, seed, answers), "method": "spread", "model": str(RUN / "sft")}
    stage("select", chosen, home / "select", seed)
    return _learned(home, [_answered(home, seed)], pool, seed)


def _in_batches(name: str, pool: Pool, seed: int, answers: int) -> Path:
    """The same, each batch chosen by the reward model of the answers before it."""
    home = HOME / f"{name}-{answers}-{seed}"
    members = METHODS[name].get("members", 1)
    chosen = _question(pool, seed, BATCH)
    if answers == BATCH:
        chosen |= {"method": "random"}
    else:
        before = _in_batches(name, pool, seed, answers - BATCH)
        earlier = [str(HOME / f"{name}-{n}-{seed}" / "collect/rankings.jsonl") for n in range(BATCH, answers, BATCH)]
        how = {key: value for key, value in METHODS[name].items() if key != "members"}
        chosen |= {"reward": str(before), "asked": earlier, **how}
    stage("select", chosen, home / "select", seed)
    _answered(home, seed)
    asked = [HOME / f"{name}-{n}-{seed}" / "collect/rankings.jsonl" for n in range(BATCH, answers + 1, BATCH)]
    return _learned(home, asked, pool, seed, members)


def _answered(home: Path, seed: int) -> Path:
    asked = {
        "data": str(home / "select/completions.jsonl"),
        "store": str(home / "feedback.db"),
        "truth": "assent.data.movie_world:utility",
        "annotators": ANNOTATORS,
    }
    return stage("collect", asked, home / "collect", seed) / "rankings.jsonl"


def _learned(home: Path, answers: Sequence[Path], pool: Pool, seed: int, members: int = 1) -> Path:
    every = stage("join", {"data": [str(path) for path in answers]}, home / "answers", seed)
    pairs = {"data": str(every / "rows.jsonl"), "held_out": 0.0}
    stage("comparisons", pairs, home / "comparisons", seed)
    settings = {"model": str(RUN / "sft"), "data": str(home / "comparisons/train.jsonl"), **REWARD}
    settings |= {"num_train_epochs": pool.epochs}
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
