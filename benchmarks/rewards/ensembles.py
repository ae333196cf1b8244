"""Ensembles against a single reward model, at as many steps of the policy against the proxy.

The single arm is the mean over the members that differ by their seed alone, a policy against each by itself: which of
them one has is luck.  The others pool them.  All are tuned alike: each arm of a seed takes the KL coefficient that gave
it the highest true reward on all the other seeds.  Tuned on four seeds, an arm took what had been lucky there.  The
true preference is watched at every step, and enters no reward.
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
from benchmarks.rewards.members import MEMBERS, RANKED, ensemble
from benchmarks.rewards.shared import RUN, curve, draw, gained, optimise, shown

SEEDS = tuple(range(6))
STEPS = 40
KL = (0.05, 0.2)
"""On two processors no arm did best at 0.01 or 0.5."""
CURVES = ("reward/true", "reward_mean", "kl")
Way = tuple[str, str]
"""An arm, and its KL coefficient."""
ARMS: dict[str, tuple[str, EnsembleRule, float] | None] = {
    "single": None,
    "worst": ("seeds", "worst", 0.0),
    "variance": ("seeds", "variance", 0.3),
}
"""How members differ, the rule and its coefficient: those that did well by best of n on the tuning seeds."""


def measure(seed: int) -> dict[str, dict[str, Any]]:
    """Each arm's curves at each KL coefficient, a run for each reward model that the arm is of."""
    return {
        arm: {f"{kl:g}": [_curves(arm, kl, seed, member) for member in range(1 if pooled else MEMBERS)] for kl in KL}
        for arm, pooled in ARMS.items()
    }


def report(found: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """The gain in true reward, over the single model, of the ensemble that did better on the other seeds."""
    print(f"A policy against {MEMBERS} reward models from {RANKED} rankings, or each of them, {STEPS} steps")
    runs = {(arm, f"{kl:g}"): [_mean(each[arm][f"{kl:g}"]) for each in found.values()] for arm in ARMS for kl in KL}
    true = {way: np.array([_late(run["reward/true"]) for run in of]) for way, of in runs.items()}
    for (arm, kl), values in true.items():
        print(
            f"{arm:9} at a KL coefficient of {kl:4}: true reward {values.mean():.3f}; by seed {shown(values.tolist())}"
        )
    if len(found) == 1:
        print("one seed has no others to tune it on")
        return {}
    curves: dict[str, list[dict[str, list[float]]]] = {}
    for arm in ARMS:
        ways = [_best(true, (arm,), seed) for seed in range(len(found))]
        curves[arm] = [runs[way][seed] for seed, way in enumerate(ways)]
        late = {name: shown([_late(run[name]) for run in curves[arm]]) for name in CURVES}
        highest = [float(_smooth(run["reward/true"]).max()) for run in curves[arm]]
        print(f"{arm:9} tuned (KL coefficient {', '.join(kl for _, kl in ways)}): true {late['reward/true']}; highest "
              f"true of five steps {shown(highest)}; proxy {late['reward_mean']}; KL {late['kl']}")  # fmt: skip
    tuned = {arm: np.array([_late(run["reward/true"]) for run in of]) for arm, of in curves.items()}
    ensembles = tuple(arm for arm, pooled in ARMS.items() if pooled)
    for arm in ensembles:
        gained(f"{arm} over single", (tuned[arm] - tuned["single"]).tolist())
    chosen = [tuned[_best(true, ensembles, seed)[0]][seed] for seed in range(len(found))]
    gain = gained("the ensemble that did better on the other seeds, over single", (chosen - tuned["single"]).tolist())
    panels = {
        title: {arm: [_smooth(run[name]).tolist() for run in of] for arm, of in curves.items()}
        for title, name in (("true reward", "reward/true"), ("reward of the proxy", "reward_mean"))
    }
    draw(RUN / "ensembles.png", panels, range(5, STEPS + 1), "steps against the proxy, mean of five")
    return {"ensemble_true_gain": gain}


def _best(true: Mapping[Way, NDArray[np.float64]], arms: Sequence[str], seed: int) -> Way:
    """Which of ``arms``, at which KL coefficient, has the highest true reward on all seeds but this one."""
    return max((way for way in true if way[0] in arms), key=lambda way: float(np.delete(true[way], seed).mean()))


def _mean(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """The mean curves of several runs."""
    return {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in CURVES}


def _late(values: Sequence[float]) -> float:
    return float(np.mean(values[-10:]))


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Means of five steps."""
    return np.lib.stride_tricks.sliding_window_view(np.array(values, dtype=np.float64), 5).mean(-1)


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
