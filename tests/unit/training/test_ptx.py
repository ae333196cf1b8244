"""PPO-ptx: the gradient is that of PPO plus gamma times that of the texts; what does not fit together is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.algorithms import load_algorithm
from assent.algorithms.sft import SFTSettings
from assent.errors import RecipeError
from assent.rollout.local import LocalEngine
from assent.testing.tiny import tiny_causal
from assent.training import on_policy
from assent.training.callbacks import read_metrics
from assent.training.examples import text_examples
from assent.training.loop import Training
from assent.training.objective import Objective
from assent.training.on_policy import make_roles, make_training
from assent.training.roles import Roles
from assent.training.rollouts import RolloutSource
from assent.training.sources import DatasetSource, Example
from tests.training.tiny_runs import rollout_task

TEXTS = ["The film is good.", "Once upon a time there was a cat.", "A long and slow film.", "The girl saw the cat."]


def texts() -> list[Example]:
    return text_examples(tiny_causal().tokenizer, TEXTS, 40, "error", "test")[0]


def ptx_task(folder: Path, **settings: Any) -> Any:
    given = {"epochs": 1, "minibatches": 1, "max_steps": 1, **settings}
    return replace(rollout_task("ppo", folder, **given), pretrain=texts())


def policy_gradient(training: Training) -> dict[str, torch.Tensor]:
    """Of one step, which is accumulated and not applied."""
    training.optimizers = {}
    training.restore()
    training.one_step()
    assert training.roles.policy is not None
    return {name: p.grad.clone() for name, p in training.roles.policy.named_parameters() if p.grad is not None}


def on_rollouts(task: Any) -> dict[str, torch.Tensor]:
    source = RolloutSource(
        task.prompts,
        task.encoded,
        LocalEngine(task.policy),
        task.reward,
        task.settings.sampling(0),
        rollouts=6,
        samples_per_prompt=2,
        pad=0,
        device=torch.device("cpu"),
    )
    return policy_gradient(make_training(task, make_roles(task), source, []))


def test_the_gradient_is_the_sum_of_both(tmp_path: Path):
    gamma = 2.5
    settings = {"pretrain_coefficient": gamma, "pretrain_batch_size": 3}
    both = on_rollouts(ptx_task(tmp_path / "both", **settings))
    alone = on_rollouts(replace(ptx_task(tmp_path / "alone", **settings), pretrain=()))
    task = ptx_task(tmp_path / "texts")
    source = DatasetSource(task.pretrain, 3, task.seed, 0, torch.device("cpu"))
    texts_alone = policy_gradient(
        Training(
            objectives=[Objective(source, load_algorithm("sft"), SFTSettings())],
            roles=Roles(policy=task.policy),
            optimizers={},
            optim=task.settings,
            loop=task.settings,
            total_steps=1,
            folder=tmp_path / "texts",
            callbacks=[],
            seed=task.seed,
        )
    )
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, alone[name] + gamma * texts_alone[name], rtol=1e-4, atol=1e-6)
    assert max(float(g.abs().max()) for g in texts_alone.values()) > 1e-2


def test_the_likelihood_of_the_texts_is_kept_and_logged(tmp_path: Path):
    """With a large gamma the texts are learned; their figure stands apart from PPO's."""
    task = ptx_task(tmp_path, max_steps=6, epochs=2, minibatches=2, pretrain_coefficient=20.0)
    on_policy.train(task)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["pretrain_loss"] < 0.8 * rows[0]["pretrain_loss"]
    assert {"policy_loss", "pretrain_loss", "pretrain_epoch"} <= set(rows[0])
    assert "loss" not in rows[0]


def test_too_few_texts_for_the_updates_of_a_step(tmp_path: Path):
    task = ptx_task(tmp_path, minibatches=3, pretrain_batch_size=2)
    with pytest.raises(RecipeError, match="minibatches 3 is more than the 2 texts"):
        on_policy.train(task)
