"""Ensembles against a single reward model, at as many steps of the policy against the proxy.

The single arm is the mean over the members that differ by their seed alone, a policy against each by itself: which of
them one has is luck.  The others pool them.  The true preference is watched at every step, and enters no reward.

The KL coefficient is the one that did best for every arm on the base models of two other processors, whose rounding
makes another model of each.  Few seeds cannot tune it: at 0.05 a policy may collapse, and what is best there is what
was lucky (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assent.data.movie_world import utility
from assent.models.load import reward_model_folders
from assent.rewards.ensemble import EnsembleRule, Pooling
from assent.rewards.model import load_models
from benchmarks.rewards.members import MEMBERS, RANKED, ensemble
from benchmarks.rewards.shared import RUN, curve, draw, gained, optimise, shown

SEEDS = tuple(range(7))
STEPS = 40
KL = 0.2
CURVES = ("reward/true", "reward_mean", "kl")
ARMS: dict[str, tuple[str, EnsembleRule, float] | None] = {
    "single": None,
    "worst": ("seeds", "worst", 0.0),
    "variance": ("seeds", "variance", 0.3),
}
"""How members differ, the rule and its coefficient: those that did well by best of n on the tuning seeds."""


def measure(seed: int) -> dict[str, list[dict[str, list[float]]]]:
    """Each arm's curves, a run for each reward model that it is of."""
    return {arm: [_curves(arm, seed, member) for member in range(1 if pooled else MEMBERS)]
            for arm, pooled in ARMS.items()}  # fmt: skip


def report(found: Mapping[int, Mapping[str, Sequence[Mapping[str, Sequence[float]]]]]) -> dict[str, float]:
    """The gain in true reward over the single model; that of the worst of the members, which was ahead of the variance
    on the two other processors, is returned."""
    print(f"A policy against {MEMBERS} reward models from {RANKED} rankings, or each of them, {STEPS} steps, KL "
          f"coefficient {KL}")  # fmt: skip
    means = {arm: [_mean(each[arm]) for each in found.values()] for arm in ARMS}
    for arm, runs in means.items():
        late = {name: shown([_late(run[name]) for run in runs]) for name in CURVES}
        highest = [float(_smooth(run["reward/true"]).max()) for run in runs]
        print(f"{arm:9}: true {late['reward/true']}; highest true of five steps {shown(highest)}; proxy "
              f"{late['reward_mean']}; KL {late['kl']}")  # fmt: skip
    alone = [[_late(run["reward/true"]) for run in each["single"]] for each in found.values()]
    print(f"single, each member: {'; '.join(map(shown, alone))}")
    true = {arm: np.array([_late(run["reward/true"]) for run in runs]) for arm, runs in means.items()}
    gain = {arm: gained(f"{arm} over single", (true[arm] - true["single"]).tolist()) for arm, of in ARMS.items() if of}
    panels = {
        title: {arm: [_smooth(run[name]).tolist() for run in runs] for arm, runs in means.items()}
        for title, name in (("true reward", "reward/true"), ("reward of the proxy", "reward_mean"))
    }
    draw(RUN / "ensembles.png", panels, range(5, STEPS + 1), "steps against the proxy, mean of five")
    return {"ensemble_true_gain": gain["worst"]}


def _mean(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """The mean curves of several runs."""
    return {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in CURVES}


def _late(values: Sequence[float]) -> float:
    return float(np.mean(values[-10:]))


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Means of five steps."""
    return np.lib.stride_tricks.sliding_window_view(np.array(values, dtype=np.float64), 5).mean(-1)


def _curves(arm: str, seed: int, member: int) -> dict[str, list[float]]:
    folder = _run(arm, seed, member)
    return {name: curve(folder, name) for name in CURVES}


def _run(arm: str, seed: int, member: int) -> Path:
    """The policy's folder; ``member`` is which of the reward models a single one is."""
    pooled = ARMS[arm]
    kind, rule, coefficient = pooled or ("seeds", "mean", 0.0)
    models = ensemble(kind, seed)
    source = str(models if pooled else reward_model_folders(models)[member])
    pooling = Pooling(rule, coefficient)
    settings = {"max_steps": STEPS, "batch_size": 64, "kl_coefficient": KL}
    return optimise(
        arm,
        lambda tokenizer: load_models(source, policy_tokenizer=tokenizer, pooling=pooling),
        {"true": utility},
        settings,
        RUN / "ensembles" / f"{arm}-{KL:g}-{seed}-{member}",
        seed,
    )
