"""A recipe of a task run whole at a tiny size: rewrites, rankings, a reward model and a policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assent.cli import main
from assent.data.readers import read_demonstrations

RECIPE = Path(__file__).parents[2] / "recipes/tasks/instructions.yaml"
TINY = {
    "world": {"texts": 60, "demonstrations": 20, "train_prompts": 20, "eval_prompts": 6},
    "base": {"max_steps": 2, "hidden_size": 32, "intermediate_size": 64},
    "sft": {"max_steps": 2},
    "drafts": {"max_prompts": 6},
    "rewritten": {"max_steps": 1},
    "sample": {"max_prompts": 12},
    "reward": {"max_steps": 2},
    "grpo": {"max_steps": 2, "batch_size": 8},
}


@pytest.mark.slow
def test_rewrites_and_rankings_reach_the_policy(tmp_path: Path) -> None:
    sets = [f"{stage}.{key}={value}" for stage, values in TINY.items() for key, value in values.items()]
    words = [word for item in sets for word in ("--set", item)]
    assert main(["run", str(RECIPE), "--out", str(tmp_path / "run"), *words]) == 0
    written = read_demonstrations(tmp_path / "run/rewrites/demonstrations.jsonl")
    assert len(written) == 6
    assert {made.author for made in written} == {"simulated:ann"}
    found = json.loads((tmp_path / "run/evaluate/evaluation.json").read_text(encoding="utf-8"))
    assert list(found["policies"]) == ["sft", "rewritten", "grpo"]
    assert found["policies"]["grpo"]["kl"] != 0.0
    rows = [json.loads(line) for line in (tmp_path / "run/evaluate/samples.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert all("utility" in each for row in rows for each in row["completions"].values())
