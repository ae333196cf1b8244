"""Six steps equal three, a kill and three more, bit for bit: weights, optimiser, controllers, metrics."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import EVERY, Progress, train, weights

from assent.training.callbacks import read_metrics
from assent.training.flat import unflattened
from tests.threads import threads


def interrupt() -> None:
    raise KeyboardInterrupt


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def same(one: Any, other: Any, where: str = "") -> None:
    """Equal to the last bit, at any depth."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}/{i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def newest(folder: Path) -> dict[str, Any]:
    path = sorted((folder / "checkpoints").glob("step-*[0-9]"))[-1]
    assert path.name == "step-00000005"
    return torch.load(path / "state.pt", weights_only=True)


def check_equal(straight: Path, resumed: Path, one: dict[str, Any], other: dict[str, Any]) -> None:
    same(weights(one), weights(other))
    same(newest(straight), newest(resumed))
    assert (straight / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()
    assert [row["step"] for row in read_metrics(resumed / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in read_metrics(resumed / "timing.jsonl")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("stop", [interrupt, ask_to_stop])
def test_resume_is_exact(name: str, stop: Callable[[], None], tmp_path: Path):
    said: list[str] = []
    straight = train(name, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "resumed", Progress({4: stop}))
    resumed = train(name, tmp_path / "resumed", say=said.append)
    # an interrupt loses the step; when asked to stop, the loop saves it first
    assert said == [f"going on from step {3 if stop is interrupt else 4} of 6"]
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_the_run_learned_something_at_every_step(tmp_path: Path):
    for name in EVERY:
        train(name, tmp_path / name, epochs=1, minibatches=1)  # later updates on a batch may all be clipped
        rows = read_metrics(tmp_path / name / "metrics.jsonl")
        assert len({row["grad_norm"] for row in rows}) == 6
        assert all(row["grad_norm"] > 1e-4 for row in rows), name
    rows = read_metrics(tmp_path / "ppo" / "metrics.jsonl")
    assert len({row["kl_coefficient"] for row in rows}) > 3  # the controller is part of what is resumed


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads here as in the run that is killed: the order of sums depends on it."""
    with threads(1):
        yield


@pytest.mark.parametrize("name", ["ppo"])
def test_resume_after_sigkill_is_exact(name: str, tmp_path: Path, one_thread: None):
    straight = train(name, tmp_path / "straight")
    program = [sys.executable, str(Path(__file__).with_name("tiny_runs.py")), name, str(tmp_path / "resumed")]
    killed = subprocess.run(program, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(read_metrics(tmp_path / "resumed" / "metrics.jsonl")) == 4
    resumed = train(name, tmp_path / "resumed")
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


ADAPTER = {"adapter": "lora", "lora_r": 4, "lora_dropout": 0.1, "load_best_model_at_end": True}


@pytest.mark.parametrize("name", ["sft", "reward", "dpo", "ppo", "grpo"])
def test_resume_is_exact_with_an_adapter(name: str, tmp_path: Path):
    """The checkpoint holds what is trained and nothing of the base; dropout goes on where it was."""
    straight = train(name, tmp_path / "straight", **ADAPTER)
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "resumed", Progress({4: interrupt}), **ADAPTER)
    resumed = train(name, tmp_path / "resumed", **ADAPTER)
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)
    saved = unflattened(newest(tmp_path / "resumed"))["weights"]
    trained = {role: {n for n, p in m.named_parameters() if p.requires_grad} for role, m in resumed.items()}
    assert {role: set(state) for role, state in saved.items()} == trained
    assert {role: sum("lora_B" in n for n in names) for role, names in trained.items()} == dict.fromkeys(trained, 14)


@pytest.mark.parametrize("settings", [{"critic": "shared"}, {"critic": "reward"}])
def test_resume_is_exact_for_every_critic(settings: dict[str, Any], tmp_path: Path):
    straight = train("ppo", tmp_path / "straight", **settings)
    with pytest.raises(KeyboardInterrupt):
        train("ppo", tmp_path / "resumed", Progress({4: interrupt}), **settings)
    resumed = train("ppo", tmp_path / "resumed", **settings)
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_resume_keeps_the_best_weights(tmp_path: Path):
    settings = {"load_best_model_at_end": True, "learning_rate": 0.05, "eval_steps": 1}
    straight = train("sft", tmp_path / "straight", **settings)
    rows = read_metrics(tmp_path / "straight" / "metrics.jsonl")
    best = min(rows, key=lambda row: row["eval_loss"])
    assert best["step"] < 6
    with pytest.raises(KeyboardInterrupt):
        train("sft", tmp_path / "resumed", Progress({4: interrupt}), **settings)
    resumed = train("sft", tmp_path / "resumed", **settings)
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_a_damaged_checkpoint_costs_a_step_and_nothing_else(tmp_path: Path):
    straight = train("sft", tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train("sft", tmp_path / "resumed", Progress({4: interrupt}))
    state = tmp_path / "resumed" / "checkpoints" / "step-00000003" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1000])
    said: list[str] = []
    resumed = train("sft", tmp_path / "resumed", say=said.append)
    assert "step-00000003 is damaged" in said[0]
    assert said[1] == "going on from step 2 of 6"
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)
