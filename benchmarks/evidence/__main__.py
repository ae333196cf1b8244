"""Whether the evidence can be believed: over-optimisation seen and told, intervals that cover.

    python -m benchmarks.evidence [RUN]              RUN is a finished quickstart, runs/quickstart when left out;
                                                     what is measured is kept there, and again = goes on
    python -m benchmarks.evidence RUN --part 0 2     does the first half of the work and keeps it: for two calls side by
                                                     side, and one without it to end
    python -m benchmarks.evidence RUN --data         prints where best of n turns by reward models of how many noisy
                                                     rankings, on seeds of its own: what fixed their number
    python -m benchmarks.evidence RUN --alarm        prints what fixes the alarm's thresholds, on the same seeds

Three seeds: a reward model of few noisy rankings is optimised by PPO without a KL penalty and by best of n, beside a
healthy run.  The picture goes into docs/.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.evidence import calibrate
from benchmarks.evidence.coverage import coverage
from benchmarks.evidence.over_optimise import Bench, seed_curves, units
from benchmarks.evidence.picture import draw
from benchmarks.evidence.verdicts import seed_row

SEEDS = (0, 1, 2)
DOCS = Path(__file__).parents[2] / "docs"


def say(text: str) -> None:
    print(text, flush=True)


def measure(run: Path) -> list[dict[str, Any]]:
    """A row for each seed."""
    rows = [seed_row(seed, runs) for seed, runs in zip(SEEDS, seed_curves(Bench(run), SEEDS, say), strict=True)]
    for row in rows:
        say(json.dumps({name: value for name, value in row.items() if name not in ("fits", "points")}))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether the evidence can be believed.")
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/quickstart"))
    parser.add_argument("--part", type=int, nargs=2, metavar=("K", "N"), help="do the K-th of N parts of the work")
    parser.add_argument("--data", action="store_true", help="print what fixes the small reward model's data")
    parser.add_argument("--alarm", action="store_true", help="print what fixes the alarm's thresholds")
    given = parser.parse_args()
    if given.data or given.alarm:
        (calibrate.data if given.data else calibrate.alarm)(given.run)
        return 0
    if given.part:
        part, parts = given.part
        for unit in units(Bench(given.run), SEEDS, say)[part::parts]:
            unit()
        return 0
    covered = coverage()
    print(json.dumps(covered), flush=True)
    rows = measure(given.run)
    found = {"seeds": rows, "coverage": covered}
    (DOCS / "over-optimisation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(rows, DOCS / "over-optimisation.png")
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
