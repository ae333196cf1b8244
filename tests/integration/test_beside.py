"""The process beside: it runs stages, tells what went wrong, and ends with its owner, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assent.errors import RecipeError, RunError
from assent.pipeline.live.beside import Beside, Work, half_the_threads
from tests.threads import threads

OWNER = """
import time
from pathlib import Path
from assent.pipeline.live.beside import Beside, Work

if __name__ == "__main__":
    with Beside(1) as beside:
        beside.begin([Work("join", {"data": ["rows.jsonl"]}, Path("out"), 0)])
        while not beside.ended:
            time.sleep(0.02)
        print(*beside._pool._processes, flush=True)
        time.sleep(600)
"""


def done(beside: Beside, *job: Work) -> None:
    beside.begin(job)
    assert beside.busy
    while not beside.ended:
        time.sleep(0.02)
    beside.hear()


def test_stages_one_after_the_other_and_what_went_wrong(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n')
    first, second = tmp_path / "first", tmp_path / "second"
    with Beside(1) as beside:
        done(
            beside,
            Work("join", {"data": [str(rows)]}, first, 0),
            Work("join", {"data": [str(first / "rows.jsonl")]}, second, 0),
        )
        assert not beside.busy
        assert (second / "manifest.json").exists()
        with pytest.raises(RecipeError, match=r"absent\.jsonl"):
            done(beside, Work("join", {"data": [str(tmp_path / "absent.jsonl")]}, tmp_path / "third", 0))
        os.kill(next(iter(beside._pool._processes)), signal.SIGKILL)
        time.sleep(0.2)
        with pytest.raises(RunError, match="was killed, perhaps for want of memory"):
            done(beside, Work("join", {"data": [str(rows)]}, tmp_path / "fourth", 0))


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "owner.py").write_text(OWNER)
    owner = subprocess.Popen([sys.executable, "owner.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    beside = next(int(line) for line in iter(owner.stdout.readline, "") if line.strip().isdecimal())
    os.kill(beside, 0)
    owner.kill()
    owner.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{beside}").exists():
        assert time.monotonic() < until, "it outlived its owner"
        time.sleep(0.02)


def test_half_of_the_threads() -> None:
    import torch

    with threads(4):
        before = torch.get_num_threads()
        with half_the_threads() as half:
            assert torch.get_num_threads() == half == max(1, before // 2)
        assert torch.get_num_threads() == before
