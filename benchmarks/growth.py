"""Does a step cost the same after a thousand of them, and sixteen times the batch sixteen times as much?

`python -m benchmarks.growth [--repeats 3]` runs `assent sft` and `assent grpo` on a small random Llama, and prints two
tables, then one JSON line.  Steps: seconds per token and resident memory along runs of up to 1,000 steps, all rows
being of one length, repeats of the two works in alternation; the slope is that of the time per token over the run,
relative to its mean, with a 95 % interval over the repeats.  Batch: seconds of a step at 1 to 16 times the rows; the
exponent is the slope of log seconds over log tokens, 1 where the cost is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from assent.runs.folder import partial_of
from benchmarks.vs_trl.data import Shape, Texts, make_models, write_rows
from benchmarks.vs_trl.works import REWARD

SHAPE = Shape(layers=2, width=64, heads=2, hidden=128, vocabulary=2_000)
PROMPT, ANSWER = 16, 32
WINDOWS = (10, 30, 100, 300, 1_000)
FACTORS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Curve:
    """A run.  Of each step: seconds and tokens; of some moments, the step that was done and the resident bytes."""

    seconds: np.ndarray
    tokens: np.ndarray
    memory: tuple[tuple[int, int], ...]

    def per_token(self, first: int, last: int) -> float:
        """Median seconds a token of steps ``first`` to ``last``."""
        part = slice(first, last)
        return float(np.median(self.seconds[part] / self.tokens[part]))

    def resident(self, step: int) -> int:
        """The most bytes held in the moments up to the step."""
        return max((size for done, size in self.memory if 0 < done <= step), default=0)

    def slope(self) -> float:
        """Relative change of the time per token from the run's start to its end, by least squares of windows' medians.

        The first twentieth warms up and is left out.
        """
        cost = self.seconds / self.tokens
        parts = np.array_split(cost[len(cost) // 20 :], 20)
        medians = np.array([np.median(part) for part in parts])
        return float(np.polyfit(np.linspace(0.0, 1.0, len(medians)), medians, 1)[0] / medians.mean())


def run(work: str, folder: Path, settings: Mapping[str, Any]) -> Curve:
    """One run of the command that users type, watched from outside."""
    out = folder / f"{work}-out"
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, "-m", "assent", work, "--out", str(out)]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    memory: list[tuple[int, int]] = []
    with open(folder / "growth.log", "w", encoding="utf-8") as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            memory.append((_steps(partial_of(out)), _resident(process.pid)))
            time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{(folder / 'growth.log').read_text(encoding='utf-8')}")
    rows = [json.loads(line) for line in (out / "timing.jsonl").read_text(encoding="ascii").splitlines()]
    return Curve(
        np.array([row["seconds"] for row in rows]),
        np.array([row["tokens"] for row in rows]),
        tuple(memory),
    )


def _steps(unfinished: Path) -> int:
    """Steps done so far, by the lines of the timing log."""
    log = unfinished / "timing.jsonl"
    try:
        return log.read_bytes().count(b"\n")
    except OSError:  # not begun, or just finished
        return 0


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS")), 0)
    except OSError:
        return 0


def set_up(folder: Path, rows: int) -> dict[str, dict[str, Any]]:
    """Work -> settings but for steps and batch.  All rows are of one length."""
    policy, _ = make_models(folder, SHAPE)
    texts = Texts(SHAPE.vocabulary, 0)
    pairs = [{"prompt": texts.text(PROMPT, PROMPT), "completion": texts.text(ANSWER, ANSWER)} for _ in range(rows)]
    data = write_rows(folder / "rows.jsonl", pairs)
    prompts = write_rows(folder / "prompts.jsonl", [{"prompt": row["prompt"]} for row in pairs])
    common = {"model": policy, "lr_scheduler_type": "constant", "learning_rate": 1e-6}
    lengths = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER}
    return {
        "sft": {**common, "data": data},
        "grpo": {**common, "data": prompts, "reward_function": REWARD, "epochs": 1, **lengths},
    }


def over_steps(works: Mapping[str, dict[str, Any]], folder: Path, steps: int, repeats: int) -> dict[str, Any]:
    """Time and memory along a run; prints the table."""
    curves: dict[str, list[Curve]] = {work: [] for work in works}
    for _ in range(repeats):
        for work, settings in works.items():
            curves[work].append(run(work, folder, {**settings, "max_steps": steps, "batch_size": 8}))
    print(f"{'':6}{'steps':>14}{'µs a token':>12}{'memory, MB':>12}")
    found: dict[str, Any] = {}
    for work, each in curves.items():
        ends = [window for window in WINDOWS if window <= steps]
        for first, last in zip([0, *ends], ends, strict=False):
            cost = statistics.median(curve.per_token(max(first, 1), last) for curve in each)
            memory = statistics.median(curve.resident(last) for curve in each)
            print(f"{work:6}{f'{first + 1} to {last}':>14}{cost * 1e6:12.1f}{memory / 1e6:12.0f}", flush=True)
        slopes = [curve.slope() for curve in each]
        low, high = interval(slopes)
        grown = statistics.median(curve.resident(steps) / max(1, curve.resident(steps // 10)) for curve in each) - 1
        print(
            f"{work:6}time per token from start to end {statistics.mean(slopes):+.1%} ({low:+.1%} to {high:+.1%}), ",
            end="",
        )
        print(f"memory from a tenth to the end {grown:+.1%}")
        found[work] = {"slope": statistics.mean(slopes), "low": low, "high": high, "memory": grown}
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean by Student's t; all numbers for one value alone."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values) - half, statistics.mean(values) + half


def over_batch(works: Mapping[str, dict[str, Any]], folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of a step over the size of the batch; prints the table.  Returns the exponents."""
    print(f"{'':6}{'batch':>8}{'tokens':>10}{'seconds':>10}{'µs a token':>12}{'peak, MB':>10}")
    found: dict[str, float] = {}
    for work, settings in works.items():
        tokens, seconds, peaks = list[float](), list[float](), list[int]()
        for factor in FACTORS:
            curves = [
                run(work, folder, {**settings, "max_steps": 8, "batch_size": 16 * factor}) for _ in range(repeats)
            ]
            tokens.append(float(curves[0].tokens[-1]))
            seconds.append(statistics.median(float(np.median(curve.seconds[2:])) for curve in curves))
            peaks.append(max(curve.resident(8) for curve in curves))
            cost = seconds[-1] / tokens[-1] * 1e6
            print(f"{work:6}{16 * factor:8}{tokens[-1]:10.0f}{seconds[-1]:10.3f}{cost:12.1f}{peaks[-1] / 1e6:10.0f}")
        found[work] = float(np.polyfit(np.log(tokens), np.log(seconds), 1)[0])
        print(f"{work:6}cost grows as tokens to the power {found[work]:.2f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1_000, help="of the runs over steps")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        works = set_up(folder, 16 * FACTORS[-1])
        steps = over_steps(works, folder, asked.steps, asked.repeats)
        batch = over_batch(works, folder, asked.repeats)
    print(json.dumps({"steps": steps, "batch_exponent": batch}))


if __name__ == "__main__":
    main()
