"""``--nproc``: the commands in several processes, stopped, resumed and told of a mistake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

import assent

SETTINGS = {"max_steps": 40, "save_steps": 2, "batch_size": 8, "learning_rate": 1e-3}


def start(out: Path, folder: Path, data: str = "demos.jsonl") -> subprocess.Popen[str]:
    words = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-m", "assent", "sft", "--model", "policy", "--data", data, "--out", str(out), *words,
         "--nproc", "2"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def test_two_processes_are_stopped_and_go_on_to_what_one_makes(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop)
    alone = {"model": "policy", "data": "demos.jsonl", **SETTINGS}
    assent.run_stage("sft", alone, tmp_path / "one", say=lambda line: None)
    two = tmp_path / "two"
    process = start(two, workshop)
    metrics = tmp_path / "two.partial" / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130, said
    assert said.count("stopped; what was finished or saved is kept") == 1
    assert "Traceback" not in said
    done = metrics.read_bytes().count(b"\n")
    assert (tmp_path / "two.partial" / "checkpoints" / f"step-{done:08d}").is_dir()
    process = start(two, workshop)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    assert said.count(f"going on from step {done} of 40") == 1
    one, both = (load_file(folder / "model.safetensors") for folder in (tmp_path / "one", two))
    assert one.keys() == both.keys()
    for name, tensor in one.items():
        assert_close(both[name], tensor, rtol=1e-3, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_mistake_is_told_once(workshop: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "The film", "completion": " good"}\n{"prompt": 7}\n', encoding="utf-8")
    process = start(tmp_path / "out", workshop, str(bad))
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 2, said
    assert [line for line in said.splitlines() if "bad.jsonl, line 2" in line] == said.strip().splitlines()
