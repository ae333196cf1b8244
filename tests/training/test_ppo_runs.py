"""Real tiny PPO runs: target_kl ends a batch early, and a critic that cannot start from the reward model is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import rollout_task, train, weights

from assent.errors import RecipeError
from assent.testing.tiny import tiny_reward
from assent.training import on_policy
from assent.training.callbacks import read_metrics


def after(folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """The weights after two batches, one update an epoch."""
    made = train("ppo", folder, **{"max_steps": 2, "minibatches": 1, "save_steps": 100, **settings})
    return {name: value.clone() for name, value in weights(made).items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_target_kl_leaves_out_the_updates_after_the_one_that_went_above_it(tmp_path: Path):
    """The first update of a batch finds a KL of 0, the second one above any tiny target: two are made of six."""
    stopped = after(tmp_path / "stopped", epochs=6, target_kl=1e-9)
    two, six = after(tmp_path / "two", epochs=2), after(tmp_path / "six", epochs=6)
    assert equal(stopped, two)
    assert [row["updates"] for row in read_metrics(tmp_path / "stopped" / "metrics.jsonl")] == [2.0, 2.0]
    assert [row["updates"] for row in read_metrics(tmp_path / "six" / "metrics.jsonl")] == [6.0, 6.0]
    assert not equal(stopped, six)
    assert equal(after(tmp_path / "wide", epochs=6, target_kl=1e9), six)


@pytest.mark.parametrize("reward", [None, tiny_reward("bert")], ids=["another tokenizer", "an encoder"])
def test_a_critic_that_cannot_start_from_the_reward_model_is_refused(reward: Any, tmp_path: Path):
    """A reward model with another tokenizer, or no reward model, comes here as ``None``."""
    task = replace(rollout_task("ppo", tmp_path, critic="reward"), reward_model=reward)
    with pytest.raises(RecipeError, match=r"critic: reward needs a .*reward model with the policy's own tokenizer"):
        on_policy.train(task)
    assert not (tmp_path / "metrics.jsonl").exists()
