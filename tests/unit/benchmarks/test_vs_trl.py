"""The parts of the comparison with TRL that need no TRL: texts that are cut in one way only, and the figures."""

from __future__ import annotations

import pytest
import torch

from assent.testing.tiny import tiny_causal, tiny_reward
from assent.training import on_policy
from assent.training.critic import CriticSettings
from benchmarks.vs_trl.__main__ import compare
from benchmarks.vs_trl.assent_gradient import named_as_trl, recorded_rows, relative_distance, use_record
from benchmarks.vs_trl.data import SPECIAL, Texts, characters, comparisons, make_tokenizer
from benchmarks.vs_trl.process import Run


def test_joined_texts_have_the_tokens_of_their_parts() -> None:
    tokenizer = make_tokenizer(2000)
    rows = comparisons(Texts(2000, 0), 20)
    for row in rows:
        prompt, answer = (tokenizer(row[name]).input_ids for name in ("prompt", "chosen"))
        assert 8 <= len(prompt) <= 64
        assert 16 <= len(answer) <= 128
        assert tokenizer(row["prompt"] + row["chosen"]).input_ids == prompt + answer
        assert tokenizer.decode(answer) == row["chosen"]
    assert len(characters(2000)) + len(SPECIAL) == 2000 == len(set(characters(2000))) + len(SPECIAL)


def test_the_first_step_is_left_out_and_each_side_has_its_best_precision() -> None:
    ours = {"float32": Run((9.0, 1.0, 1.0), (5, 100, 100), 10, 0.0), "bfloat16": Run((9.0, 1.0), (5, 400), 30, 0.0)}
    theirs = {"float32": Run((9.0, 1.0), (5, 50), 40, 0.0), "bfloat16": Run((9.0, 1.0), (5, 25), 80, 0.0)}
    assert compare(ours, theirs) == {"best": 8.0, "fp32": 2.0, "memory": 0.75}


def test_gradients_are_matched_by_name_and_measured_relative_to_the_norm() -> None:
    ours = {
        "policy": {"model.model.norm.weight": torch.tensor([3.0, 4.0])},
        "critic": {"trunk.norm.weight": torch.tensor([1.0]), "head.out.weight": torch.tensor([0.0])},
    }
    theirs = {
        "policy.model.norm.weight": torch.tensor([3.0, 4.0]),
        "value_model.model.norm.weight": torch.tensor([0.0]),
        "value_model.score.weight": torch.tensor([0.0]),
    }
    assert relative_distance(named_as_trl(ours, "ppo"), theirs) == 0.2


def test_recorded_rows_leave_padding_out() -> None:
    rollouts = {"queries": torch.tensor([[0, 5], [6, 7]]), "sequences": torch.tensor([[0, 5, 8, 0], [6, 7, 9, 9]])}
    assert recorded_rows(rollouts, 0) == {(5,): [(8, 0)], (6, 7): [(9, 9)]}


def test_the_critic_of_a_recorded_run_has_the_head_of_the_reward_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("start_critic", "local_engine"):
        monkeypatch.setattr(on_policy, name, getattr(on_policy, name))  # put back afterwards
    reward = tiny_reward()
    use_record({})
    critic = on_policy.start_critic(tiny_causal(), reward, CriticSettings(critic="reward"), 0)
    head = dict(critic.named_parameters())["head.out.weight"]
    assert head.abs().max() > 0
    assert torch.equal(head, reward.model.score.weight)
