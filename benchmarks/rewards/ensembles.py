"""Ensembles against a single reward model, at as many steps of the policy against the proxy.

Few and noisy rankings make reward models that a policy can exploit.  Four of them, of separate seeds, see the same
rankings; the single arm is the first of them.  Every arm is tuned over the same KL coefficients on the first seed, by
the true reward of its last steps.  The true preference is watched at every step, and enters no reward.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from assent.data.jsonl import write_completions
from assent.data.movie_world import utility
from assent.rewards.ensemble import EnsembleRule, Pooling
from assent.rewards.model import load_models
from benchmarks.rewards.shared import RUN, SEEDS, curve, late, optimise, sampled, shown, spread, stage

RANKED, MEMBERS, NOISE, STEPS = 100, 4, 2.0, 60
KL = (0.01, 0.05)
ARMS: dict[str, tuple[EnsembleRule, float] | None] = {
    "single": None,
    "worst": ("worst", 0.0),
    "variance": ("variance", 1.0),
}


def ensembles() -> float:
    """The gain in true reward of the better of worst case and variance penalty over the single model."""
    print(f"\nA policy against {MEMBERS} reward models from {RANKED} rankings, or one of them, {STEPS} steps")
    best = {arm: max(KL, key=lambda kl, arm=arm: late(_run(arm, kl, SEEDS[0]), "reward/true")) for arm in ARMS}
    print("KL coefficients tuned on the first seed:", best)
    found: dict[str, list[float]] = {}
    for arm in ARMS:
        runs = [_run(arm, best[arm], seed) for seed in SEEDS]
        found[arm] = [late(run, "reward/true") for run in runs]
        proxy, peak = [late(run, "reward_mean") for run in runs], [max(curve(run, "reward/true")) for run in runs]
        print(f"{arm:9}: true {shown(found[arm])}; proxy {shown(proxy)}; highest true {shown(peak)}", flush=True)
    _draw(best)
    gains: dict[str, float] = {}
    for arm in ("worst", "variance"):
        each = [a - b for a, b in zip(found[arm], found["single"], strict=True)]
        mean, low, high = spread(each)
        gains[arm] = mean
        print(f"{arm} over single: {mean:+.3f} ({low:+.3f} to {high:+.3f} over seeds); by seed {shown(each)}")
    return max(gains["worst"], gains["variance"])


def _rewards(seed: int) -> Path:
    """An ensemble from few and noisy rankings."""
    folder = RUN / "ensembles" / f"reward-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    answers = sampled()
    chosen = np.random.default_rng([seed, 11]).permutation(len(answers) // 4)[:RANKED]
    write_completions(folder / "asked.jsonl", (answer for i in chosen for answer in answers[4 * i : 4 * i + 4]))
    asked = {
        "data": str(folder / "asked.jsonl"),
        "store": str(folder / "feedback.db"),
        "truth": "assent.data.movie_world:utility",
        "annotators": [{"name": "hasty", "noise": NOISE, "tie_width": 0.0, "fail_below": -1000.0}],
        "annotators_per_question": 1,
    }
    stage("collect", asked, folder / "collect", seed)
    pairs = {"data": str(folder / "collect/rankings.jsonl"), "held_out": 0.0}
    stage("comparisons", pairs, folder / "comparisons", seed)
    settings = {
        "model": str(RUN / "sft"),
        "data": str(folder / "comparisons/train.jsonl"),
        "members": MEMBERS,
        "batch_size": 16,
        "num_train_epochs": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 3,
    }
    return stage("reward", settings, folder / "models", seed)


def _run(arm: str, kl: float, seed: int) -> Path:
    folder, rule = _rewards(seed), ARMS[arm]
    source = str(folder / "member-1") if rule is None else str(folder)
    pooling = Pooling() if rule is None else Pooling(*rule)
    settings = {"max_steps": STEPS, "batch_size": 96, "kl_coefficient": kl}
    return optimise(
        arm,
        lambda tokenizer: load_models(source, policy_tokenizer=tokenizer, pooling=pooling),
        {"true": utility},
        settings,
        RUN / "ensembles" / f"{arm}-{kl:g}-{seed}",
        seed,
    )


def _draw(best: dict[str, float]) -> None:
    """True and proxy reward by step, the mean over seeds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4))
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for arm, kl in best.items():
        runs = [_run(arm, kl, seed) for seed in SEEDS]
        curves[arm] = {name: [curve(run, name) for run in runs] for name in ("reward/true", "reward_mean", "kl")}
        for axis, name in zip(axes, ("reward/true", "reward_mean"), strict=True):
            line = np.mean(curves[arm][name], axis=0)
            axis.plot(np.convolve(line, np.ones(5) / 5, mode="valid"), label=arm)
            axis.set_xlabel("steps")
            axis.set_title("true reward" if name == "reward/true" else "reward of the proxy")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(RUN / "ensembles.png", dpi=120)
    (RUN / "ensembles.json").write_text(json.dumps(curves), encoding="utf-8")
    print(f"curves: {RUN / 'ensembles.png'}")
