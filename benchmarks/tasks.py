"""The field's tasks at small size: what each recipe of ``recipes/tasks`` gains, by a metric that no reward saw.

    python -m benchmarks.tasks                                  every task; into runs/tasks
    python -m benchmarks.tasks --tasks questions,detoxify       some of them
    python -m benchmarks.tasks --seeds 3                        each from several seeds

What is done is not done again.  A line a task: the metric of the model before and after, on held-out prompts; the gain
with its 95% interval over the prompts of all seeds (what other prompts would show of these policies; other trainings
may differ by more); and the KL between the two in nats.  The last line is JSON: task -> ``metric``, ``before``,
``after``, ``low`` and ``high`` (of the gain), ``kl``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assent.data.rows import read_rows
from assent.pipeline.plan import plan
from assent.pipeline.recipe import load_recipe
from assent.pipeline.run import run_recipe

ROOT = Path(__file__).parents[1]
RUNS = Path("runs/tasks")
TASKS = sorted(path.stem for path in (ROOT / "recipes/tasks").glob("*.yaml"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="some of them, with commas between")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    names = given.tasks.split(",")
    if unknown := set(names) - set(TASKS):
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    print(json.dumps({name: measured(name, range(given.seeds)) for name in names}))


def measured(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of a task, and a line about it."""
    folders = [_evaluated(name, seed) for seed in seeds]
    found = [json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) for folder in folders]
    reference, policy = found[0]["reference"], list(found[0]["policies"])[-1]
    pairs = [_utilities(folder, reference, policy) for folder in folders]  # a seed: [prompts, 2]
    before, after = np.concatenate(pairs).mean(0)
    gains = [pair[:, 1] - pair[:, 0] for pair in pairs]
    every = np.concatenate(gains)
    half = 1.96 * every.std(ddof=1) / len(every) ** 0.5
    out = {
        "metric": found[0]["judge"],
        "before": round(float(before), 4),
        "after": round(float(after), 4),
        "low": round(float(every.mean() - half), 4),
        "high": round(float(every.mean() + half), 4),
        "kl": round(float(np.mean([each["policies"][policy]["kl"] for each in found])), 3),
    }
    print(
        f"{name}: {out['metric']} {before:.3f} -> {after:.3f}, gain {every.mean():+.3f} ({out['low']:+.3f} to "
        f"{out['high']:+.3f}, {len(every)} prompts; by seed {', '.join(f'{gain.mean():+.3f}' for gain in gains)}), "
        f"KL {out['kl']:.2f}",
        flush=True,
    )
    return out


def _evaluated(name: str, seed: int) -> Path:
    """The folder of the recipe's evaluation, run where it has not been."""
    overrides = [f"out={RUNS / f'{name}-{seed}'}", f"seed={seed}"]
    recipe = load_recipe(ROOT / f"recipes/tasks/{name}.yaml", overrides)
    if any(item.action != "done" for item in plan(recipe)):
        run_recipe(recipe, say=lambda text: None)
    return next(item.folder for item in plan(recipe) if item.name == "evaluate")


def _utilities(folder: Path, reference: str, policy: str) -> np.ndarray:
    """The judge's scores [prompts, 2] of the two policies' answers to the same prompts."""
    rows = [row.values["completions"] for row in read_rows(folder / "samples.jsonl")]
    return np.array([[row[name]["utility"] for name in (reference, policy)] for row in rows])


if __name__ == "__main__":
    main()
