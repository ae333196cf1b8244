"""The quickstart, and recipes that go on from its stages, run whole as a user runs them and show what they claim."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from whole_runs import assent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "quickstart"
    assent("run", "recipes/quickstart.yaml", "--out", str(out))
    return out


def test_quickstart_aligns_the_policy_without_breaking_its_language(quickstart: Path) -> None:
    figures = json.loads((quickstart / "report.json").read_text())
    print(figures)
    assert figures["win_rate"] >= 0.8
    assert figures["win_rate_low"] > 0.7
    assert figures["perplexity_ratio"] <= 1.5
    assert figures["distinct_2_ratio"] >= 0.7
    assert 0 < figures["kl"] < 30
    # A reward model cannot beat annotator noise; one that knows nothing scores a half.
    assert 0.6 < figures["reward_model_accuracy"] < figures["reward_model_ceiling"] < 1
    assert figures["wall_seconds"] > 0
    assert {"sft", "ppo", "dpo"} <= set(figures["policies"])


def test_quickstart_again_does_no_work_twice(quickstart: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in quickstart.glob("stages/*/manifest.json")}
    assert len(before) == 11
    assent("run", "recipes/quickstart.yaml", "--out", str(quickstart))
    assert {path: path.stat().st_mtime_ns for path in quickstart.glob("stages/*/manifest.json")} == before


def test_quickstart_models_load_with_plain_transformers(quickstart: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(quickstart / "ppo")
    policy = AutoModelForCausalLM.from_pretrained(quickstart / "ppo")
    prompt = "Film: The Silent Harbor, a thriller. Notes: good music. Review:"
    out = policy.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=40, do_sample=False)
    assert "music" in tokenizer.decode(out[0], skip_special_tokens=True).removeprefix(prompt)
    reward = AutoModelForSequenceClassification.from_pretrained(quickstart / "reward")
    assert reward(**tokenizer(prompt, return_tensors="pt")).logits.shape == (1, 1)


def test_apprenticeship_learns_from_demonstrations_alone(quickstart: Path, tmp_path: Path) -> None:
    out = tmp_path / "apprenticeship"
    shutil.copytree(quickstart / "stages", out / "stages")  # world, base and sft are those of the quickstart
    assent("run", "recipes/apprenticeship.yaml", "--out", str(out))
    figures = json.loads((out / "report.json").read_text())
    print(figures)
    assert figures["win_rate"] > 0.53  # people's own reviews win 0.60
    assert figures["win_rate_low"] > 0.5
    assert 0 < figures["kl"] < 10


def test_rebel_runs_the_published_four_parts(quickstart: Path, tmp_path: Path) -> None:
    out = tmp_path / "rebel"
    shutil.copytree(quickstart / "stages", out / "stages")  # all before generate are those of the quickstart
    half = ("--set", "generate.max_prompts=2000", "--set", "rebel.max_steps=60")  # of what the recipe takes
    assent("run", "recipes/rebel.yaml", "--out", str(out), *half)
    figures = json.loads((out / "report.json").read_text())
    print(figures)
    removed = {item["filter"]: item["removed"] for item in json.loads((out / "filter" / "filters.json").read_text())}
    assert removed["exact_duplicates"] > 0
    assert removed["finished"] >= 0
    assert figures["win_rate"] > 0.6
    assert 0 < figures["kl"] < 20
    assert {"sft", "rebel", "dpo"} <= set(figures["policies"])
