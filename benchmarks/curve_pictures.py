"""Draws the curves that :mod:`benchmarks.curves` measured: one picture for each algorithm, the others in grey."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

Curve = Mapping[str, Sequence[Mapping[str, float]]]
"""Seed -> points."""
_OURS, _OTHERS, _INK = "#1f6f8b", "#c9ced3", "#33393f"


def draw(folder: Path) -> int:
    """One ``NAME.png`` beside each ``NAME.json``."""
    curves: dict[str, Curve] = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    policies = {name: curve for name, curve in curves.items() if "win_rate" in next(iter(curve.values()))[0]}
    for name, curve in curves.items():
        figure = _policy(name, curve, policies) if name in policies else _reward(name, curve, curves)
        figure.savefig(folder / f"{name}.png", dpi=96)
        plt.close(figure)
        print(folder / f"{name}.png")
    return 0


def _policy(name: str, curve: Curve, policies: Mapping[str, Curve]) -> Any:
    figure, (samples, kl) = plt.subplots(1, 2, figsize=(7.4, 2.9), sharey=True, layout="constrained")
    for axis, key in ((samples, "samples"), (kl, "kl")):
        for other, theirs in policies.items():
            if other != name:
                axis.plot(*_mean(theirs, key, "win_rate"), color=_OTHERS, linewidth=1)
        for points in curve.values():
            axis.plot(*_columns(points, key, "win_rate"), color=_OURS, linewidth=0.8, alpha=0.5)
        axis.plot(*_mean(curve, key, "win_rate"), color=_OURS, linewidth=2, marker="o", markersize=3.5)
        axis.axhline(0.5, color=_INK, linewidth=0.6, linestyle=":")
        axis.spines[["top", "right"]].set_visible(False)
    samples.set_xlabel("completions sampled, ranked or demonstrated")
    kl.set_xlabel("KL from the SFT policy, nats per completion")
    samples.set_ylabel("wins against the SFT policy")
    samples.set_ylim(0.2, 1.0)
    samples.set_title(f"{name}: {_seeds(curve)}", loc="left", fontsize=10, color=_OURS)
    kl.set_title("other algorithms in grey", loc="left", fontsize=9, color="#8a9299")
    return figure


def _reward(name: str, curve: Curve, curves: Mapping[str, Curve]) -> Any:
    figure, axis = plt.subplots(figsize=(4.6, 2.9), layout="constrained")
    for other, theirs in curves.items():
        if other != name and "accuracy" in next(iter(theirs.values()))[0]:
            axis.plot(*_mean(theirs, "samples", "accuracy"), color=_OTHERS, linewidth=1)
    for points in curve.values():
        axis.plot(*_columns(points, "samples", "accuracy"), color=_OURS, linewidth=0.8, alpha=0.5)
    axis.plot(*_mean(curve, "samples", "accuracy"), color=_OURS, linewidth=2, marker="o", markersize=3.5)
    axis.set_xlabel("completions ranked, judged or demonstrated")
    axis.set_ylabel("accuracy, held-out comparisons")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"{name}: {_seeds(curve)}", loc="left", fontsize=10, color=_OURS)
    return figure


def _columns(points: Sequence[Mapping[str, float]], x: str, y: str) -> tuple[list[float], list[float]]:
    return [point[x] for point in points], [point[y] for point in points]


def _mean(curve: Curve, x: str, y: str) -> tuple[list[float], list[float]]:
    """Means over the seeds, evaluation by evaluation."""
    rows = [_columns(points, x, y) for points in curve.values()]
    return tuple(np.mean(column, axis=0).tolist() for column in zip(*rows, strict=True))  # pyright: ignore[reportReturnType]


def _seeds(curve: Curve) -> str:
    return "one seed" if len(curve) == 1 else f"mean of {len(curve)} seeds, each thin"
