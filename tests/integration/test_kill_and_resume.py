"""``kill -9`` or Ctrl-C in the middle of training, and the same command again: the same bits as never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMON = ["--model", "policy", "--save-steps", "3", "--batch-size", "8"]
COMMANDS = {
    "sft": ["sft", "--data", "demos.jsonl", "--max-steps", "60", "--eval-split", "0.2", "--eval-steps", "10",
            "--load-best-model-at-end", "--learning-rate", "1e-3", *COMMON],
    "ppo": ["ppo", "--data", "prompts.jsonl", "--reward", "reward", "--max-steps", "20", "--max-new-tokens", "16",
            "--epochs", "2", "--minibatches", "2", *COMMON],
}  # fmt: skip
WRITTEN = {"sft": [], "ppo": ["critic.safetensors"]}


def start(verb: str, out: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "assent", *COMMANDS[verb], "--out", str(out)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # the order of sums depends on the number of threads
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def interrupt(process: subprocess.Popen[str], out: Path, number: int) -> None:
    """Send a signal at a random moment after the process made its first checkpoint."""
    checkpoints = out.with_name(out.name + ".partial") / "checkpoints"
    before = set(checkpoints.glob("step-*[0-9]"))
    until = time.monotonic() + 300
    while set(checkpoints.glob("step-*[0-9]")) <= before and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    moment = random.uniform(0.0, 0.2)
    print(f"signal {number} after {moment:.3f} s")
    time.sleep(moment)
    process.send_signal(number)
    process.wait(timeout=300)


@pytest.mark.parametrize("verb", COMMANDS)
def test_an_interrupted_run_ends_with_the_same_bits(verb: str, workshop: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    processes = [start(verb, out, workshop) for out in (whole, killed)]
    interrupt(processes[1], killed, signal.SIGKILL)
    assert processes[1].returncode == -signal.SIGKILL, "it had finished: make the run longer"
    assert not killed.exists()
    processes[1] = start(verb, killed, workshop)
    interrupt(processes[1], killed, signal.SIGINT)
    if processes[1].returncode != 0:  # the second leg may be over before the signal comes
        assert processes[1].returncode == 130
        assert "the same command goes on from there" in processes[1].communicate()[0]
        assert not killed.exists()
        assert "going on from step" in finish(start(verb, killed, workshop))
    finish(processes[0])
    for name in ["model.safetensors", "metrics.jsonl", *WRITTEN[verb]]:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]
    assert not (killed / "checkpoints").exists()
