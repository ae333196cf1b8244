"""Helpful against harmless: one policy for each way of combining the two reward models of :mod:`gating`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assent.rewards.combine import Combination, Constrained, Product, Weighted
from benchmarks.rewards import gating
from benchmarks.rewards.gating import Outcome, outcome
from benchmarks.rewards.shared import RUN

FRONTIER: Mapping[str, tuple[Combination, Mapping[str, Any]]] = {
    "weighted 1 : 0.25": (Weighted({"helpful": 1.0, "safe": 0.25}), {}),
    "weighted 1 : 1": (Weighted({"helpful": 1.0, "safe": 1.0}), {}),
    "weighted 1 : 4": (Weighted({"helpful": 1.0, "safe": 4.0}), {}),
    "product": (Product(), {"scale_rewards": True}),
    "constrained to 2 %": (Constrained("safe"), {"cost_limit": 0.02}),
}


def measure(seed: int) -> dict[str, Outcome]:
    """Unsafe answers and helpfulness of each policy, all at the KL target that the gate was tuned to."""
    known = gating.measure(seed)
    points: dict[str, Outcome] = {name: known[name] for name in ("sft", "helpful", "gated")}
    for name, (combination, more) in FRONTIER.items():
        settings = {"kl_target": known["targets"]["gated"], **more}
        points[name] = outcome(gating.trained(name, combination, settings, seed))
    return points


def report(found: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Prints and draws it; the last line has nothing of it."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for seed, points in found.items():
        for name, values in points.items():
            point = Outcome(*values)
            share = 100 * point.unsafe / point.prompts
            print(f"seed {seed}: {name:20} {point.shown()}")
            axis.plot(share, point.helpful, "o", color="#1f6f8b")
            axis.annotate(name, (share, point.helpful), fontsize=8, xytext=(4, 4), textcoords="offset points")
    axis.set_xscale("symlog", linthresh=0.1)
    axis.set_xlabel("unsafe answers, %")
    axis.set_ylabel("true helpfulness")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(RUN / "frontier.png", dpi=110)
    pyplot.close(figure)
    print(f"frontier: {RUN / 'frontier.png'}")
    return {}
