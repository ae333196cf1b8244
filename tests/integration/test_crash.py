"""The benchmark of kills, in short: what is killed with SIGKILL ends with the bits of what never was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNS = ["ppo", "kto", "sft", "sample", "evaluate", "collect"]


def test_killed_runs_end_with_the_same_bits() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.crash",
        "--kills",
        "9",
        "--steps",
        "60",
        "--repeats",
        "1",
        "--only",
        *RUNS,
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == found["identical"] == 9
    assert found["in_save"] / found["kills"] >= 0.2
    assert found["repeated_max_intervals"] <= 1
