"""Ensembles against a single reward model, at as many steps of the policy against the proxy.

Few and noisy rankings make reward models that a policy can exploit.  Four of them, of separate seeds, see the same
rankings; the single arm is the first of them.  Every arm is tuned over the same KL coefficients on the first seed, by
the true reward of its last steps.  The true preference is watched at every step, and enters no reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.data.movie_world import utility
from assent.models.load import reward_model_folders
from assent.rewards.ensemble import EnsembleRule, Pooling
from assent.rewards.model import load_models
from benchmarks.rewards.shared import RUN, SEEDS, comparisons, curve, gained, groups, optimise, reward_model, shown

RANKED, MEMBERS, NOISE, STEPS = 100, 4, 2.0, 40
KL = (0.01, 0.05, 0.2)
CURVES = ("reward/true", "reward_mean", "kl")
ARMS: dict[str, tuple[EnsembleRule, float] | None] = {
    "single": None,
    "worst": ("worst", 0.0),
    "variance": ("variance", 1.0),
}


def measure(seed: int) -> dict[str, dict[str, Any]]:
    """Each arm's curves, at the KL coefficient that did best on the first seed."""
    out: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        best = max(KL, key=lambda kl, arm=arm: _late(curve(_run(arm, kl, SEEDS[0]), "reward/true")))
        folder = _run(arm, best, seed)
        out[arm] = {"kl_coefficient": best} | {name: curve(folder, name) for name in CURVES}
    return out


def report(found: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """The gain in true reward of the better of worst case and variance penalty over the single model."""
    print(f"A policy against {MEMBERS} reward models from {RANKED} rankings, or one of them, {STEPS} steps")
    true: dict[str, list[float]] = {}
    for arm in ARMS:
        runs = [each[arm] for each in found.values()]
        true[arm] = [_late(run["reward/true"]) for run in runs]
        proxy, kl = ([_late(run[name]) for run in runs] for name in ("reward_mean", "kl"))
        highest = [float(_smooth(run["reward/true"]).max()) for run in runs]
        print(f"{arm:9} (KL coefficient {runs[0]['kl_coefficient']:g}): true {shown(true[arm])}; highest true of five "
              f"steps {shown(highest)}; proxy {shown(proxy)}; KL {shown(kl)}")  # fmt: skip
    _draw(found)
    gains = [
        gained(f"{arm} over single", [a - b for a, b in zip(true[arm], true["single"], strict=True)])
        for arm in ("worst", "variance")
    ]
    return {"ensemble_true_gain": max(gains)}


def _late(values: Sequence[float]) -> float:
    return float(np.mean(values[-10:]))


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Means of five steps."""
    return np.lib.stride_tricks.sliding_window_view(np.array(values, dtype=np.float64), 5).mean(-1)


def _rewards(seed: int) -> Path:
    """An ensemble from few and noisy rankings."""
    folder = RUN / "ensembles" / f"reward-{seed}"
    known = groups()
    asked = [known[i] for i in np.random.default_rng([seed, 11]).permutation(len(known))[:RANKED]]
    truth = "assent.data.movie_world:utility"
    pairs = comparisons(asked, folder, seed, truth, held_out=0.0, noise=NOISE, tie_width=0.0)
    return reward_model(pairs / "train.jsonl", folder / "models", seed, members=MEMBERS, num_train_epochs=4)


def _run(arm: str, kl: float, seed: int) -> Path:
    """The policy's folder."""
    models, rule = _rewards(seed), ARMS[arm]
    source = str(reward_model_folders(models)[0] if rule is None else models)
    pooling = Pooling() if rule is None else Pooling(*rule)
    settings = {"max_steps": STEPS, "batch_size": 64, "kl_coefficient": kl}
    return optimise(
        arm,
        lambda tokenizer: load_models(source, policy_tokenizer=tokenizer, pooling=pooling),
        {"true": utility},
        settings,
        RUN / "ensembles" / f"{arm}-{kl:g}-{seed}",
        seed,
    )


def _draw(found: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> None:
    """True and proxy reward by step: each seed, and their mean."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for arm, colour in zip(ARMS, ("#c2703d", "#1f6f8b", "#7a5ba6"), strict=True):
        for axis, name in zip(axes, ("reward/true", "reward_mean"), strict=True):
            lines = [_smooth(each[arm][name]) for each in found.values()]
            steps = np.arange(len(lines[0])) + 5
            for line in lines:
                axis.plot(steps, line, color=colour, linewidth=0.6, alpha=0.5)
            axis.plot(steps, np.mean(lines, axis=0), color=colour, linewidth=2, label=arm)
    for axis, title in zip(axes, ("true reward", "reward of the proxy"), strict=True):
        axis.set_xlabel("steps against the proxy")
        axis.set_title(f"{title}, mean of five steps", loc="left", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(RUN / "ensembles.png", dpi=110)
    pyplot.close(figure)
    print(f"curves: {RUN / 'ensembles.png'}")
