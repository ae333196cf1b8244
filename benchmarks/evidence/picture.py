"""The picture of over-optimisation: proxy and gold over the distance from the SFT policy, with the fitted forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from assent.evaluation.over_optimisation import Form, predicted

_PROXY, _GOLD, _INK = "#c2703d", "#1f6f8b", "#33393f"


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """``rows`` are those of the benchmark's seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.4), layout="constrained", sharey=True)
    titles = (
        "best of n, mean of six models of few rankings",
        "PPO without KL penalty, the first of them",
        "PPO, all rankings, KL 0.1",
    )
    for axis, name, title in zip(axes, ("best_of_n", "ppo", "healthy"), titles, strict=True):
        for row in rows:
            _curve(axis, row["points"][name])
            if name in row["fits"]:
                _fit(axis, row["fits"][name], max(point["kl"] for point in row["points"][name]))
        axis.axhline(0.0, color=_INK, linewidth=0.6, linestyle=":")
        axis.set_title(title, loc="left", fontsize=9, color=_INK)
        axis.set_xlabel("sqrt(KL from the SFT policy), nats")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("gain over the SFT policy")
    axes[0].plot([], [], color=_PROXY, label="reward model (proxy)")
    axes[0].plot([], [], color=_GOLD, label="true preference (gold)")
    axes[0].plot([], [], color=_GOLD, linestyle="--", linewidth=1, label="fitted form, peak marked")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(axis: Any, points: Sequence[Mapping[str, float]]) -> None:
    d = [max(0.0, point["kl"]) ** 0.5 for point in points]
    for key, colour in (("proxy", _PROXY), ("gold", _GOLD)):
        means, errors = (np.array([point[each] for point in points]) for each in (key, f"{key}_se"))
        axis.plot(d, means, color=colour, linewidth=1.2, marker="o", markersize=2.5)
        axis.fill_between(d, means - 1.96 * errors, means + 1.96 * errors, color=colour, alpha=0.12, linewidth=0)


def _fit(axis: Any, fit: Mapping[str, Any], most: float) -> None:
    d = np.linspace(0.0, max(0.0, most) ** 0.5, 200)
    form: Form = fit["form"]
    axis.plot(d, predicted(d, fit["alpha"]["value"], fit["beta"]["value"], form), color=_GOLD, lw=1, linestyle="--")
    if fit["peak_kl"] is not None and fit["peak_kl"] <= most:
        axis.plot([fit["peak_kl"] ** 0.5], [fit["peak_gain"]], marker="*", markersize=10, color=_GOLD, linestyle="")
