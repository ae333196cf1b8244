"""Learning from demonstrations as a user types it: sample, contrast, then SPIN, or a reward and PPO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from assent.cli import main
from assent.data.readers import read_comparisons, read_completions, read_demonstrations
from assent.rewards.load import load_reward
from assent.testing.reward_source import check_reward_source

QUICK = ("--max-steps", "3", "--batch-size", "4", "--max-new-tokens", "6")


def typed(folder: Path, verb: str, *arguments: str) -> Path:
    out = folder / verb
    assert main([verb, *arguments, "--out", str(out)]) == 0
    return out


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("data", ["demos.jsonl", "chats.jsonl"])
def test_a_policy_and_a_reward_from_demonstrations_alone(data, workshop, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    sample = typed(tmp_path, "sample", "--model", "policy", "--data", data, "--n", "3", "--max-new-tokens", "6")
    drawn = str(sample / "completions.jsonl")
    contrast = typed(tmp_path, "contrast", "--data", data, "--completions", drawn)
    pairs = read_comparisons(contrast / "comparisons.jsonl")
    said = {(d.prompt.shown(), d.response) for d in read_demonstrations(data)}
    assert {(c.prompt.shown(), c.chosen) for c in pairs} == said
    assert {round(c.weight, 6) for c in pairs} == {round(1 / 3, 6)}

    compared = str(contrast / "comparisons.jsonl")
    spin = typed(tmp_path, "spin", "--model", "policy", "--data", compared, *QUICK[:4], "--learning-rate", "1e-3")
    first, *_, last = metrics(spin)
    assert first["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert last["margin"] > first["margin"] == 0.0

    objective = {"demos.jsonl": "adversarial", "chats.jsonl": "maximum-entropy"}[data]
    settings = ("--max-steps", "20", "--batch-size", "8", "--learning-rate", "1e-3", "--objective", objective)
    reward = typed(tmp_path, "inverse-rl", "--model", "policy", "--data", compared, *settings)
    assert metrics(reward)[-1]["accuracy"] > 0.9  # words against the noise of a model that knows nothing
    model, info = AutoModelForSequenceClassification.from_pretrained(reward, output_loading_info=True)
    assert model.config.num_labels == 1
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    prompts, completions = zip(*read_completions(drawn)[:6], strict=True)
    check_reward_source(load_reward(str(reward)), prompts, completions)
    ppo = typed(tmp_path, "ppo", "--model", "policy", "--data", data, "--reward", str(reward), *QUICK)
    assert len(metrics(ppo)) == 3
    assert "Warning" not in capsys.readouterr().err


def test_samples_of_other_prompts_are_an_error_in_a_sentence(workshop, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    sample = typed(tmp_path, "sample", "--model", "policy", "--data", "prompts.jsonl", "--max-new-tokens", "4")
    drawn = str(sample / "completions.jsonl")
    assert main(["contrast", "--data", "chats.jsonl", "--completions", drawn, "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert "completions.jsonl: none of its 16 prompts has a demonstration in chats.jsonl" in error
    assert "Traceback" not in error
