"""Ensembles against a single reward model, at as many steps of the policy against the proxy.

The single arm is the mean over the members that differ by their seed alone, a policy against each by itself: which of
them one has is luck.  The others pool them.  All are tuned alike: over the same KL coefficients, by the true reward of
the last steps on seeds that are tested on nowhere, the single arm there against the first member.  The true preference
is watched at every step, and enters no reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.data.movie_world import utility
from assent.models.load import reward_model_folders
from assent.rewards.ensemble import EnsembleRule, Pooling
from assent.rewards.model import load_models
from benchmarks.rewards.members import MEMBERS, RANKED, TUNING, ensemble
from benchmarks.rewards.shared import RUN, curve, draw, gained, optimise, shown

SEEDS = tuple(range(10))
STEPS = 40
KL = (0.01, 0.05, 0.2, 0.5)
CURVES = ("reward/true", "reward_mean", "kl")
ARMS: dict[str, tuple[str, EnsembleRule, float] | None] = {
    "single": None,
    "worst": ("seeds", "worst", 0.0),
    "variance": ("seeds", "variance", 0.3),
}
"""How members differ, the rule and its coefficient: those that did well by best of n on the tuning seeds."""


def measure(seed: int) -> dict[str, dict[str, Any]]:
    """Each arm's curves at the KL coefficient that it was tuned to, a run for each reward model that it is of."""
    out: dict[str, dict[str, Any]] = {}
    for arm, pooled in ARMS.items():
        tuned = _tuned(arm)
        best = max(KL, key=lambda kl, tuned=tuned: tuned[kl])
        tried = {f"{kl:g}": value for kl, value in tuned.items()}
        runs = [_curves(arm, best, seed, member) for member in range(1 if pooled else MEMBERS)]
        out[arm] = {"kl_coefficient": best, "tuning": tried, "runs": runs}
    return out


def report(found: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """The gain in true reward, over the single model, of the ensemble that did better on the tuning seeds."""
    every = list(found.values())
    print(f"A policy against {MEMBERS} reward models from {RANKED} rankings, or each of them, {STEPS} steps; seeds "
          f"{', '.join(map(str, TUNING))} tune")  # fmt: skip
    means = {arm: [_mean(each[arm]["runs"]) for each in every] for arm in ARMS}
    for arm, runs in means.items():
        first = every[0][arm]
        tried = ", ".join(f"{value:.3f} at {kl}" for kl, value in first["tuning"].items())
        print(f"{arm:9} true reward by KL coefficient on the tuning seeds: {tried}")
        late = {name: shown([_late(run[name]) for run in runs]) for name in CURVES}
        highest = [float(_smooth(run["reward/true"]).max()) for run in runs]
        print(f"{arm:9} (KL coefficient {first['kl_coefficient']:g}): true {late['reward/true']}; highest true of five "
              f"steps {shown(highest)}; proxy {late['reward_mean']}; KL {late['kl']}")  # fmt: skip
    alone = [[_late(run["reward/true"]) for run in each["single"]["runs"]] for each in every]
    print(f"single, each member: {'; '.join(map(shown, alone))}")
    true = {arm: np.array([_late(run["reward/true"]) for run in runs]) for arm, runs in means.items()}
    gains = {arm: (true[arm] - true["single"]).tolist() for arm in ARMS if arm != "single"}
    for arm, gain in gains.items():
        gained(f"{arm} over single", gain)
    panels = {
        title: {arm: [_smooth(run[name]).tolist() for run in runs] for arm, runs in means.items()}
        for title, name in (("true reward", "reward/true"), ("reward of the proxy", "reward_mean"))
    }
    draw(RUN / "ensembles.png", panels, range(5, STEPS + 1), "steps against the proxy, mean of five")
    chosen = max(gains, key=lambda arm: max(every[0][arm]["tuning"].values()))
    return {"ensemble_true_gain": float(np.mean(gains[chosen]))}


def _mean(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """The mean curves of several runs."""
    return {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in CURVES}


def _late(values: Sequence[float]) -> float:
    return float(np.mean(values[-10:]))


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Means of five steps."""
    return np.lib.stride_tricks.sliding_window_view(np.array(values, dtype=np.float64), 5).mean(-1)


@cache
def _tuned(arm: str) -> dict[float, float]:
    """KL coefficient -> true reward of the last steps, mean over the tuning seeds."""
    return {kl: float(np.mean([_late(_curves(arm, kl, seed)["reward/true"]) for seed in TUNING])) for kl in KL}


def _curves(arm: str, kl: float, seed: int, member: int = 0) -> dict[str, list[float]]:
    folder = _run(arm, kl, seed, member)
    return {name: curve(folder, name) for name in CURVES}


def _run(arm: str, kl: float, seed: int, member: int) -> Path:
    """The policy's folder; ``member`` is which of the reward models a single one is."""
    pooled = ARMS[arm]
    kind, rule, coefficient = pooled or ("seeds", "mean", 0.0)
    models = ensemble(kind, seed)
    source = str(models if pooled else reward_model_folders(models)[member])
    pooling = Pooling(rule, coefficient)
    settings = {"max_steps": STEPS, "batch_size": 64, "kl_coefficient": kl}
    return optimise(
        arm,
        lambda tokenizer: load_models(source, policy_tokenizer=tokenizer, pooling=pooling),
        {"true": utility},
        settings,
        RUN / "ensembles" / f"{arm}-{kl:g}-{seed}-{member}",
        seed,
    )
