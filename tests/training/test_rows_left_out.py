"""Real tiny runs of algorithms that train on other rows than those sampled: some left out, or a buffer's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import train, weights

from assent.testing.tiny import tiny_causal
from assent.training.callbacks import read_metrics
from assent.training.checkpoint import load_newest


@pytest.mark.parametrize("name", ["rejection", "expert-iteration"])
def test_figures_are_of_all_that_was_sampled(name: str, tmp_path: Path):
    train(name, tmp_path, max_steps=3)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert len(rows) == 3
    for row in rows:
        assert row["engine_mismatch"] < 1e-5
        assert row["loss"] > 1.0
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert rows[2]["kl"] != 0.0


def test_the_best_of_two_is_half(tmp_path: Path):
    train("rejection", tmp_path, max_steps=2)
    for row in read_metrics(tmp_path / "metrics.jsonl"):
        assert row["kept_share"] == 0.5
        assert row["kept_reward"] > row["reward_mean"]


def experts(folder: Path) -> list[dict[str, Any]]:
    """The buffer in the newest checkpoint."""
    newest = load_newest(folder / "checkpoints", print)
    assert newest is not None
    return newest.state["states"][0]["experts"]


def test_the_checkpoint_holds_the_experts(tmp_path: Path):
    train("expert-iteration", tmp_path, capacity=5)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["experts"] for row in rows] == [2.0, 4.0, 5.0, 5.0, 5.0, 5.0]
    kept = experts(tmp_path)
    assert rows[4]["expert_reward"] == pytest.approx(sum(expert["score"] for expert in kept) / 5)
    for expert in kept:
        assert len(expert["tokens"]) == len(expert["completion"])
        assert 1 <= sum(expert["completion"]) <= 5


def test_a_threshold_that_nothing_reaches_changes_no_weight(tmp_path: Path):
    trained = train("expert-iteration", tmp_path, max_steps=2, threshold=1e6)
    before = weights({"policy": tiny_causal()})
    assert all(torch.equal(value, before[name]) for name, value in weights(trained).items())
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["experts"] for row in rows] == [0.0, 0.0]
    assert [row["grad_norm"] for row in rows] == [0.0, 0.0]
    assert "loss" not in rows[0]


@pytest.mark.parametrize("name", ["rebel", "online-dpo", "rejection", "expert-iteration"])
def test_the_reward_rises(name: str, tmp_path: Path):
    """A letter and length of the completion: the mean over the last steps against the first, on a fixed seed."""
    settings = {"max_steps": 30, "batch_size": 60, "samples_per_prompt": 6, "learning_rate": 0.003, "kl_target": None}
    train(name, tmp_path, save_steps=100, **settings)
    rewards = [row["reward_mean"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 2.0, rewards
