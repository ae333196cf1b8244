"""An encoder-decoder policy learns by each kind of algorithm, and ends as a folder that transformers loads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import PROMPTS, examples, rollout_task, supervised_task
from transformers import AutoModelForSeq2SeqLM

from assent.errors import ModelError
from assent.models.save import save_model
from assent.models.seq2seq import Seq2SeqModel
from assent.rewards.rule import FunctionReward
from assent.testing.tiny import tiny_seq2seq
from assent.training import on_policy, supervised
from assent.training.callbacks import read_metrics
from assent.training.on_policy import encode_prompts
from assent.training.roles import Roles


def loads(policy: Seq2SeqModel, folder: Path) -> None:
    save_model(policy, folder, method="test", base="tiny", settings={})
    plain: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), policy.model.parameters(), strict=True))


def mean(rows: list[dict[str, float]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True, "token_budget": 60}])
@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_the_loss_on_a_data_set_falls(name: str, settings: dict[str, Any], tmp_path: Path):
    policy = tiny_seq2seq()
    task = supervised_task(name, tmp_path, max_steps=20, learning_rate=0.01, save_steps=100, eval_steps=100, **settings)
    reference = policy.frozen_copy() if "ref_logprobs" in task.algorithm.needs else None
    every = examples(name, policy.tokenizer)[:6]
    task = replace(task, roles=Roles(policy=policy, reference=reference), examples=every, held_out=every)
    before = supervised.evaluate_loss(task)["eval_loss"]
    supervised.train(task)
    assert supervised.evaluate_loss(task)["eval_loss"] < 0.7 * before
    loads(policy, tmp_path / "policy")


@pytest.mark.parametrize("critic", ["shared", "policy"])
def test_the_reward_rises(critic: str, tmp_path: Path):
    """The reward is the share of completions' tokens that are one of a quarter of the vocabulary."""
    policy = tiny_seq2seq()
    wanted = {token for token in range(300) if token % 4 == 0}
    given = {"critic": critic, "max_steps": 25, "batch_size": 40, "samples_per_prompt": 4, "max_new_tokens": 5}
    task = rollout_task("ppo", tmp_path, learning_rate=0.01, save_steps=100, kl_coefficient=0.0, **given)

    class Share(FunctionReward):
        def score(self, prompts: Any, completions: Any) -> Any:
            values = [len(wanted & set(c.token_ids)) / len(c.token_ids) for c in completions]
            return replace(super().score(prompts, completions), values=tuple(values))

    task = replace(
        task,
        policy=policy,
        reward=Share(lambda prompt, text: 0.0),
        reward_model=None,
        encoded=encode_prompts(policy.tokenizer, PROMPTS, 50, None, "test"),
    )
    _, roles = on_policy.train(task)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[0]["engine_mismatch"] < 1e-5
    assert mean(rows[:3], "reward_mean") < 0.4
    assert mean(rows[-3:], "reward_mean") > 0.6
    assert roles.critic is not None
    head = dict(roles.critic.named_parameters())["out.weight" if critic == "shared" else "head.out.weight"]
    assert float(head.abs().max().detach()) > 1e-3  # it began at zero
    loads(policy, tmp_path / "policy")


def test_packing_is_refused_before_the_first_step(tmp_path: Path):
    task = supervised_task("sft", tmp_path, packing=True)
    task = replace(task, roles=Roles(policy=tiny_seq2seq()))
    with pytest.raises(ModelError, match="packing: this model has an encoder"):
        supervised.train(task)
