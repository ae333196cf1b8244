"""The stage that writes a task's world: what its files hold, and how a conversation looks to a new model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import assent
from assent.data.readers import read_demonstrations, read_prompts
from assent.data.tasks.problem import WORLDS
from assent.pipeline.stages.task_world import TaskWorldSettings

SIZES = {"texts": 30, "demonstrations": 20, "train_prompts": 10, "eval_prompts": 5}


def test_every_world_can_be_asked_for():
    assert set(get_args(TaskWorldSettings.model_fields["task"].annotation)) == set(WORLDS)


def test_its_files_are_read_by_the_stages_and_hold_what_was_asked_for(tmp_path: Path):
    out = tmp_path / "world"
    assent.run_stage("task-world", {"task": "dialogue", **SIZES}, out, say=lambda text: None)
    texts = [json.loads(line)["text"] for line in (out / "texts.jsonl").read_text().splitlines()]
    assert len(texts) == 30
    shown = read_demonstrations(out / "demonstrations.jsonl")
    assert len(shown) == 20
    assert len(read_prompts(out / "train_prompts.jsonl")) == 10
    assert all({"what", "risky"} <= set(prompt.metadata) for prompt in read_prompts(out / "eval_prompts.jsonl"))
    # as PLAIN_TEMPLATE shows a conversation to the model that the policy is made of
    assert all(text.startswith("user:\n") and text.count("\n\nassistant:\n") == 2 for text in texts)


def test_a_text_is_continued_as_it_stands(tmp_path: Path):
    out = tmp_path / "world"
    assent.run_stage("task-world", {"task": "translation", "mistakes": 0.0, **SIZES}, out, say=lambda text: None)
    texts = [json.loads(line)["text"] for line in (out / "texts.jsonl").read_text().splitlines()]
    assert all(text.startswith("German: ") and text.count("\nEnglish: ") == 1 for text in texts)
