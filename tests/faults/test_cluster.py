"""A worker of a Ray cluster that is killed while it draws."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from test_disk import Tell, ends, here

from assent.cluster.pool import Pool
from benchmarks.crash import differences

__all__ = ["here"]

GRPO = (
    "grpo --model policy --data prompts.jsonl --reward-function rules.py:words --max-steps 3 --batch-size 16 "
    "--max-new-tokens 24"
)


@pytest.fixture
def _rays_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where Ray has its logs and sockets, whose names must be short."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.mark.usefixtures("_rays_folder")
@pytest.mark.fault("a rollout worker (Ray) is killed in the middle of its rollouts")
def test_worker_killed(capsys: pytest.CaptureFixture[str], happened: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(capsys, f"{GRPO} --out whole/out", 0)
    hand_out, said = Pool._hand_out, list[str]()
    killed: list[int] = []

    def and_kill(self: Pool, *given: Any) -> None:
        hand_out(self, *given)
        busy = [member.where.pid for member in self._members if member.held and member.where]
        if busy and not killed:
            self.say = said.append
            killed.append(busy[0])
            os.kill(busy[0], signal.SIGKILL)

    monkeypatch.setattr(Pool, "_hand_out", and_kill)
    ends(capsys, f"{GRPO} --cluster ray --rollout-workers 1 --out out", 0)
    assert not ray.is_initialized()
    assert differences(Path("whole/out"), Path("out")) == []
    assert killed
    text = re.sub(r"process \d+", "process N", said[0])
    happened(f"“{text}”, to the same tokens: the run ended with the same bits")
