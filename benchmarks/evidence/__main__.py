"""Whether the evidence can be believed: over-optimisation seen and told, intervals that cover.

    python -m benchmarks.evidence [RUN]              RUN is a finished quickstart, runs/quickstart when left out;
                                                     what is measured is kept there, and again = goes on
    python -m benchmarks.evidence RUN --calibrate    prints what fixes the alarm's thresholds, on seeds of its own
    python -m benchmarks.evidence RUN --sizes        prints where best of n turns by reward models of how many rankings,
                                                     on the same seeds: what fixed that number

Three seeds: a reward model of few rankings is optimised by PPO without a KL penalty and by best of n, beside a healthy
run.  The picture goes into docs/.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from assent.evaluation.alarm import hacking_alarm
from assent.evaluation.over_optimisation import Curve, curve_points, early_stopping, fit_over_optimisation
from benchmarks.evidence.coverage import coverage
from benchmarks.evidence.over_optimise import Bench, Runs, best_of_n_curves, seed_curves
from benchmarks.evidence.picture import draw

SEEDS = (0, 1, 2)
CALIBRATION = (100, 101, 102)
SIZES = (60, 30, 15)
"""Rankings, for ``--sizes``."""
SIZES_FILMS = 30
"""Films, for the same: enough to see where a mean turns."""
DOCS = Path(__file__).parents[2] / "docs"


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


def calibrate(run: Path) -> None:
    """The largest statistics of the healthy runs, and those of the others after their peak."""
    bench = Bench(run)
    for seed in CALIBRATION:
        runs = seed_curves(bench, seed, lambda text: print(text, flush=True))
        for name, curve in (("healthy", runs.healthy), ("greedy", runs.greedy)):
            points = hacking_alarm(curve).points
            falls = " ".join(f"{point.label}:{point.fall:.1f}/{point.rise:.1f}" for point in points)
            print(f"seed {seed} {name}: peak {curve.labels[peak(curve)]}; fall/rise {falls}", flush=True)


def sizes(run: Path) -> None:
    """Best of n by reward models of fewer and fewer rankings."""
    bench = Bench(run, SIZES_FILMS)
    for seed in CALIBRATION:
        curves = best_of_n_curves(bench, [bench.reward_model(size, seed) for size in SIZES], seed)
        for size, curve in zip(SIZES, curves, strict=True):
            assert curve.gold is not None
            gold, proxy = (" ".join(f"{each:.2f}" for each in row.mean(1)) for row in (curve.gold, curve.proxy))
            print(f"seed {seed}, {size} rankings: peak {curve.labels[peak(curve)]}, turned {turned(curve)}; "
                  f"gold {gold}; proxy {proxy}", flush=True)  # fmt: skip


def measure(run: Path, seeds: Sequence[int]) -> dict[str, Any]:
    covered = coverage()
    print(json.dumps(covered), flush=True)
    bench = Bench(run)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        rows.append(seed_row(seed, seed_curves(bench, seed, lambda text: print(text, flush=True))))
        shown = {name: value for name, value in rows[-1].items() if name not in ("fits", "points")}
        print(json.dumps(shown), flush=True)
    found = {"seeds": rows, "coverage": covered}
    (DOCS / "over-optimisation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(rows, DOCS / "over-optimisation.png")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether the evidence can be believed.")
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/quickstart"))
    parser.add_argument("--calibrate", action="store_true", help="print what fixes the alarm's thresholds")
    parser.add_argument("--sizes", action="store_true", help="print what fixes the size of the reward model's data")
    given = parser.parse_args()
    if given.calibrate or given.sizes:
        (calibrate if given.calibrate else sizes)(given.run)
        return 0
    found = measure(given.run, SEEDS)
    rows, covered = found["seeds"], found["coverage"]
    print(
        json.dumps(
            {
                "gold_peak_before_end": sum(row["ppo_turned"] and row["best_of_n_turned"] for row in rows),
                "alarm_after_peak": sum(row["alarm_after_peak"] for row in rows),
                "alarm_on_healthy": sum(row["alarm_on_healthy"] for row in rows),
                "coverage_win_rate": covered["win_rate"],
                "coverage_bradley_terry": covered["bradley_terry"],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
