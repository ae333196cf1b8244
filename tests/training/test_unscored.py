"""Completions without a score never reach a loss, and rollouts that wait for people are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_stop import ends_alike
from tiny_runs import rollout_task

from assent.algorithms.batch import Batch
from assent.data.scored import with_score
from assent.errors import DataError
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Pending, Scores
from assent.rollout.engine import EncodedPrompt
from assent.rollout.fake import FakeEngine
from assent.testing.tiny import tiny_causal
from assent.training import on_policy
from assent.training.callbacks import read_metrics
from assent.training.rollouts import RolloutSource
from assent.training.scored import scored_examples
from assent.types import Completion, Prompt, SamplingSettings

SCRIPT = {"a": [[3, 0], [4, 0]], "b": [[5, 0], [6, 0]], "c": [[7, 0], [8, 0]]}
PROMPTS = [Prompt(name, text=name) for name in SCRIPT]


def batch(bad: dict[str, float], **settings: Any) -> tuple[Batch, dict[str, float]]:
    """Scores are the first token, or what ``bad`` says for it."""
    source = RolloutSource(
        PROMPTS,
        [EncodedPrompt(p.id, (9,)) for p in PROMPTS],
        FakeEngine(script=SCRIPT),
        FunctionReward(lambda prompt, text: bad.get(text, float(text))),
        SamplingSettings(max_new_tokens=2),
        rollouts=6,
        samples_per_prompt=2,
        pad=0,
        device=torch.device("cpu"),
        **settings,
    )
    return source.batch(0)


def test_a_completion_without_a_score_stops_and_is_named():
    with pytest.raises(DataError, match=r"completion 'b/0.*' has no score: function gave nan.*on_unscored: skip"):
        batch({"5": math.nan})


def test_or_it_is_left_out_and_with_it_one_that_is_alone():
    said: list[str] = []
    found, figures = batch({"5": math.nan}, on_unscored="skip", say=said.append)
    assert sorted(found["scores"].tolist()) == [3.0, 4.0, 7.0, 8.0]  # 6 has nobody left to be compared with
    assert sorted(found.groups.unique().tolist()) == [0, 1]
    assert torch.isfinite(found["scores"]).all()
    assert figures["unscored"] == 1.0
    assert said[0].startswith("1 of 6 completions left out; completion 'b/0")
    assert batch({}, on_unscored="skip")[1]["unscored"] == 0.0


def test_a_step_without_any_score_stops():
    with pytest.raises(DataError, match="no completion of this step can be trained on"):
        batch(dict.fromkeys("345678", math.inf), on_unscored="skip", say=lambda text: None)


class Waits:
    """A source that lets people take their time at one of its calls."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0
        self.inner = FunctionReward(lambda prompt, text: text.count("e") + 0.1 * len(text))

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        self.calls += 1
        if self.calls == self.at:
            raise Pending(["q1"], "answer first")
        return self.inner.score(prompts, completions)


def test_rollouts_that_wait_for_people_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(folder: Path, at: int) -> dict[str, Any]:
        task = replace(rollout_task("grpo", folder, save_steps=50), reward=Waits(at))
        return dict(on_policy.train(task)[1].trained)

    straight = run(tmp_path / "straight", 99)
    with pytest.raises(Pending):
        run(tmp_path / "resumed", 3)
    assert [path.name for path in (tmp_path / "resumed" / "checkpoints").iterdir()] == ["step-00000002"]
    drawn: list[int] = []
    batch = RolloutSource.batch

    def counted(self: RolloutSource, step: int) -> Any:
        kept = self.drawn()
        drawn.append(int(kept[0]["step"]) if kept else -1)
        return batch(self, step)

    monkeypatch.setattr(RolloutSource, "batch", counted)
    resumed = run(tmp_path / "resumed", 99)
    assert drawn == [2, -1, -1, -1]  # the third step's were not drawn again
    ends_alike(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def scored_rows(policy: Any) -> list[tuple[Prompt, Completion]]:
    rows = []
    for name in ("The film", "The cat", "It was"):
        prompt = Prompt(name, text=name)
        ids = tuple(policy.tokenizer(name).input_ids)
        for i, (text, score) in enumerate(((" is good", 1.0), (" saw a girl", -1.0))):
            tokens = (*policy.tokenizer(text, add_special_tokens=False).input_ids, policy.tokenizer.eos_token_id)
            completion = Completion(f"{name}/{i}", name, text, token_ids=tokens, prompt_token_ids=ids)
            rows.append((prompt, with_score(completion, score)))
    return rows


def test_scored_completions_are_trained_on_as_they_were_sampled():
    policy = tiny_causal()
    rows = scored_rows(policy)
    examples = scored_examples(policy, rows, "file")
    assert [list(row.token_ids) for row in examples[0].rows] == [
        [*c.prompt_token_ids, *c.token_ids] for _, c in rows[:2]
    ]
    assert examples[0].columns == {"scores": [1.0, -1.0], "ended": [1.0, 1.0]}
    foreign = [(p, replace(c, token_ids=(1, 2, 3))) for p, c in rows]  # of another tokenizer: the text counts
    assert [row.token_ids for row in scored_examples(policy, foreign, "file")[0].rows] == [
        row.token_ids for row in examples[0].rows
    ]
    with pytest.raises(DataError, match="no prompt has two completions"):
        scored_examples(policy, rows[:1], "file")
    with pytest.raises(DataError, match="'The film/1' has no score"):
        scored_examples(policy, [rows[0], (rows[1][0], replace(rows[1][1], metadata={}))], "file")


def test_rebel_on_scored_completions_fits_the_differences_of_rewards(tmp_path: Path):
    """The exact solution: log pi/pi_0 of two completions of a prompt differs by eta times the difference of rewards."""
    task = rollout_task(
        "rebel", tmp_path, max_steps=40, batch_size=6, samples_per_prompt=2, epochs=1, minibatches=1,
        learning_rate=1e-2, kl_target=None, kl_coefficient=0.0, save_steps=500,
    )  # fmt: skip
    examples = scored_examples(task.policy, scored_rows(task.policy), "file")
    said: list[str] = []
    task = replace(task, reward=None, reward_model=None, scored=examples, prompts=(), encoded=(), say=said.append)
    on_policy.train(task)
    assert said[0] == "3 prompts with scored completions; 40 steps pass 40.0 times"
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[0]["loss"] == pytest.approx(4.0, abs=1e-3)  # (0 - 2)^2
    assert rows[-1]["loss"] < 0.2
    assert rows[-1]["policy_gap"] == pytest.approx(2.0, abs=0.4)
