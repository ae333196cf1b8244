"""A combination as a folder: the same scores as in memory, after the run's folder was moved too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assent.errors import ModelError, RecipeError
from assent.models.save import save_model
from assent.rewards.combine import Combined, Gated, models_in, whitened
from assent.rewards.combined import FILE, combination_of, write_combined
from assent.rewards.kinds import load_kind, write_source
from assent.rewards.load import load_reward, open_sources
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_reward, tiny_tokenizer
from assent.types import Completion, Prompt

PROMPTS = [Prompt(id=str(i), text=text) for i, text in enumerate(("The film", "It was", "Once"))]
COMPLETIONS = [
    Completion(id=f"{i}/0", prompt_id=str(i), text=text) for i, text in enumerate((" is good.", " a long film", ""))
]


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.py").write_text("def half(prompt, text):\n    return 0.5\n")
    for seed, name in enumerate(("helpful", "safe")):
        save_model(tiny_reward(seed=seed), tmp_path / "run" / name, method="none", base="none", settings={})
    return {
        "rewards": {name: str(tmp_path / "run" / name) for name in ("helpful", "safe")}, 
        "combination": "gated", "weights": {}, "helpful": "helpful", "safety": "safe", "safety_threshold": 0.4,
        "risky_key": "risky", "ensemble": "mean", "variance_coefficient": 1.0,
    }  # fmt: skip


def test_the_folder_scores_as_its_parts_do_in_memory_and_moves_with_its_run(values: dict[str, Any], tmp_path: Path):
    named = whitened(open_sources(values), PROMPTS, COMPLETIONS)
    expected = Combined(named, Gated("helpful", "safe", 0.4)).score(PROMPTS, COMPLETIONS)
    folder = tmp_path / "run" / "both"
    folder.mkdir()
    write_combined(folder, values, named, tmp_path / "run")
    assert load_reward(str(folder)).score(PROMPTS, COMPLETIONS) == expected  # bit for bit
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = load_reward(str(tmp_path / "moved/both"), policy_tokenizer=tiny_tokenizer())
    check_reward_source(moved, PROMPTS, COMPLETIONS)
    assert moved.score(PROMPTS, COMPLETIONS).values == pytest.approx(expected.values, abs=1e-5)
    assert [each.same_tokenizer for each in models_in(moved)] == [True, True]


def test_a_rule_among_them(values: dict[str, Any], tmp_path: Path):
    kind, rule = load_kind("function"), tmp_path / "run" / "rule"
    rule.mkdir()
    write_source(rule, kind, kind.Settings(function=f"{tmp_path}/mine.py:half"), tmp_path / "run")
    values |= {"combination": "product", "rewards": {**values["rewards"], "half": str(rule)}}
    named = open_sources(values)
    assert [each.logistic for each in named.values()] == [True, True, False]
    two = {name: each for name, each in named.items() if name != "half"}
    whole, rest = (Combined(each, combination_of(values)).score(PROMPTS, COMPLETIONS) for each in (named, two))
    assert whole.values == pytest.approx([0.5 * value for value in rest.values])


def test_a_folder_that_cannot_be_read(tmp_path: Path):
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ModelError, match="is no combination of rewards that can be read"):
        load_reward(str(tmp_path))
    with pytest.raises(RecipeError, match="is no reward model, and reward_weights"):
        load_reward(str(tmp_path), weights={"a": 1.0})


def test_names_that_are_not_there(values: dict[str, Any]):
    values |= {"combination": "constrained", "weights": {"honest": 1.0}}
    with pytest.raises(RecipeError, match="no reward is named 'honest'"):
        Combined(open_sources(values), combination_of(values))
