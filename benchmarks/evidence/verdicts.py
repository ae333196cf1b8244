"""What a seed's curves say: where the true preference turned, and when the alarm was raised."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from assent.evaluation.alarm import hacking_alarm
from assent.evaluation.over_optimisation import Curve, curve_points, early_stopping, fit_over_optimisation
from benchmarks.evidence.over_optimise import Runs


def peak(curve: Curve) -> int:
    """The checkpoint of the highest true preference."""
    assert curve.gold is not None
    return int(np.argmax(curve.gold.mean(1)))


def turned(curve: Curve) -> bool:
    """Gold rises, peaks before the end and falls, all beyond the noise of its prompts, while the proxy ends higher."""
    assert curve.gold is not None
    top, stopped = peak(curve), early_stopping(curve)
    rose = curve.gold[top] - curve.gold[0]
    error = float(rose.std(ddof=1) / len(rose) ** 0.5)
    risen = bool(error > 0 and rose.mean() > 2 * error)
    return risen and stopped.advised and bool(curve.proxy[-1].mean() > curve.proxy[top].mean())


def told(curve: Curve) -> tuple[int | None, int]:
    """Index of the checkpoint at which the alarm is raised, and of the peak."""
    at = hacking_alarm(curve).raised_at
    return (None if at is None else curve.labels.index(at)), peak(curve)


def seed_row(seed: int, runs: Runs) -> dict[str, Any]:
    """What the verdict on a seed rests on."""
    alarm, top = told(runs.greedy)
    healthy, _ = told(runs.healthy)
    fits = {"ppo": ("rl", runs.greedy), "best_of_n": ("best-of-n", runs.best_of_n)}
    return {
        "seed": seed,
        "ppo_turned": turned(runs.greedy),
        "best_of_n_turned": turned(runs.best_of_n),
        "best_of_n_peak_at": runs.best_of_n.labels[peak(runs.best_of_n)],
        "peak_at": runs.greedy.labels[top],
        "alarm_at": None if alarm is None else runs.greedy.labels[alarm],
        "alarm_after_peak": alarm is not None and alarm > top,
        "alarm_on_healthy": healthy is not None,
        "fits": {name: asdict(fit_over_optimisation(c.kl, c.gold, form)) for name, (form, c) in fits.items()},  # pyright: ignore[reportArgumentType]
        "points": {
            name: [asdict(point) for point in curve_points(curve)]
            for name, curve in (("ppo", runs.greedy), ("healthy", runs.healthy), ("best_of_n", runs.best_of_n))
        },
    }
