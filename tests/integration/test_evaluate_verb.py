"""Evaluation of a whole training: snapshots on the way, best of n, and the same answers judged again by annotators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import assent
from assent.cli import main
from assent.data.readers import read_completions
from assent.errors import RecipeError
from assent.pipeline.stage import NoProgress

QUICK = {"max_steps": 5, "batch_size": 8, "epochs": 1, "max_new_tokens": 6, "snapshot_steps": 2}
EVALUATE: dict[str, Any] = {
    "data": "prompts.jsonl",
    "reference": "sft",
    "judge_function": "rules.py:words",
    "reward": "reward",
    "max_new_tokens": 6,
}


def stage(kind: str, settings: dict[str, Any], out: Path) -> Path:
    return assent.run_stage(kind, settings, out, say=lambda text: None, progress=NoProgress())


@pytest.fixture(scope="module")
def evaluated(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ppo`` and ``evaluation``."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workshop)
        ppo = {"model": "policy", "reward": "reward", "data": "prompts.jsonl", **QUICK, "learning_rate": 1e-2}
        stage("ppo", ppo, folder / "ppo")
        policies = {"policies": {"sft": "policy", "ppo": str(folder / "ppo")}}
        more = {"checkpoints": {"ppo": str(folder / "ppo")}, "best_of_n": 4, "judges": {"second": "reward"}}
        stage("evaluate", {**EVALUATE, **policies, **more}, folder / "evaluation")
    return folder


def test_the_policy_is_kept_on_the_way_but_for_the_last_step(evaluated: Path):
    kept = sorted(path.name for path in (evaluated / "ppo/snapshots").iterdir())
    assert kept == ["step-000002", "step-000004"]
    assert (evaluated / "ppo/snapshots/step-000002/model.safetensors").is_file()


def test_curves_of_the_training_and_of_best_of_n(evaluated: Path):
    found = json.loads((evaluated / "evaluation/evaluation.json").read_text())
    ppo, chosen = found["curves"]
    assert [point["label"] for point in ppo["points"]] == ["0", "2", "4", "end"]
    assert ppo["points"][0]["kl"] == ppo["points"][0]["proxy"] == ppo["points"][0]["gold"] == 0.0
    assert ppo["points"][-1]["kl"] == pytest.approx(found["policies"]["ppo"]["kl"])
    assert set(ppo["alarm"]) == {"raised_at", "points"}
    assert [point["label"] for point in chosen["points"]] == ["1", "2", "4"]
    proxy = [point["proxy"] for point in chosen["points"]]
    assert proxy == sorted(proxy)
    assert [judge["kind"] for judge in found["judges"]] == ["model", "proxy"]
    rated = {row["policy"] for row in found["bradley_terry"]["ratings"]} if "bradley_terry" in found else None
    assert rated in (None, {"sft", "ppo", "ppo@2", "ppo@4"})


def test_the_same_answers_are_judged_again_by_annotators_who_see_no_names(
    evaluated: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(workshop)
    answers = evaluated / "evaluation/answers.jsonl"
    policies = {"policies": {"sft": "policy", "ppo": str(evaluated / "ppo")}}
    asked = {
        "data": str(answers),
        "task": "pairwise",
        "truth": "rules.py:words",
        "annotators": [{"name": "ann", "noise": 0.0, "tie_width": 0.0, "fail_below": -9.0}],
        "store": str(tmp_path / "feedback.db"),
    }
    collected = stage("collect", asked, tmp_path / "collect")
    again = {**EVALUATE, **policies, "answers": str(answers), "verdicts": {"blind": str(collected / "rankings.jsonl")}}
    judged = json.loads((stage("evaluate", again, tmp_path / "judged") / "evaluation.json").read_text())
    before = json.loads((evaluated / "evaluation/evaluation.json").read_text())
    assert judged["policies"] == before["policies"]
    people, _ = judged["judges"]
    assert (people["kind"], people["judge"]) == ("simulated", "blind")
    # An annotator without noise says of every pair what the judge says.
    assert people["win_rates"] == judged["win_rates"] == before["win_rates"]
    texts = {c.id: c.text for _, c in read_completions(answers)}
    assert len(texts) == 32


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"checkpoints": {"dpo": "policy"}}, "which is none of the policies"),
        ({"checkpoints": {"sft": "policy"}}, "has no snapshots; train it with snapshot_steps"),
        ({"best_of_n": 4, "reward": None}, "needs reward"),
        ({"policies": {"sft": "policy", "a:b": "policy"}}, "a name has no ':'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    settings: dict[str, Any], said: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(workshop)
    given = {**EVALUATE, "policies": {"sft": "policy"}, **settings}
    with pytest.raises(RecipeError, match=said):
        stage("evaluate", {name: value for name, value in given.items() if value is not None}, tmp_path / "out")


def test_answers_of_other_prompts_are_refused(
    evaluated: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(workshop)
    answers = str(evaluated / "evaluation/answers.jsonl")
    arguments = ["--model", "policy", "--data", "prompts.jsonl", "--max-new-tokens", "6", "--answers", answers]
    assert main(["evaluate", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "has no answer of 'model' to prompt" in capsys.readouterr().err


def test_every_evaluation_looks_at_health_toxicity_and_bias(evaluated: Path):
    found = json.loads((evaluated / "evaluation/evaluation.json").read_text())
    figures = found["policies"]["ppo"]
    for name in ("self_bleu", "word_entropy", "token_entropy", "degenerate_share", "toxicity_rate", "missing_eos_rate"):
        assert name in figures
    assert {row["policy"] for row in found["group_bias"]} == {"sft", "ppo"}
    assert {row["score"] for row in found["group_bias"]} == {"toxicity", "reward"}
    accuracy = {row["policy"]: row["accuracy"] for row in found["reward_accuracy"]}
    assert set(accuracy) <= {"ppo", "ppo@2", "ppo@4"}
    assert all(0.0 <= value <= 1.0 for value in accuracy.values())


def test_answers_are_set_against_references(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(workshop)
    settings = {"model": "policy", "data": "prompts.jsonl", "references": "demos.jsonl", "max_new_tokens": 6}
    folder = stage("evaluate", {**settings, "max_prompts": 6, "group_samples": 0}, tmp_path / "out")
    found = json.loads((folder / "evaluation.json").read_text())
    figures = found["policies"]["model"]
    assert figures["reference_loss"] > 0
    assert {"bleu", "chrf", "rouge_l", "exact_match", "f1"} <= set(figures)
    assert "group_bias" not in found


def test_a_preamble_is_read_by_its_policy_alone(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(workshop)
    policies = {"policies": {"sft": "policy", "prompted": "policy"}, "preambles": {"prompted": "long good film good "}}
    settings = {**EVALUATE, **policies, "group_samples": 0}
    folder = stage("evaluate", settings, tmp_path / "out")
    found = json.loads((folder / "evaluation.json").read_text())["policies"]
    assert found["sft"]["kl"] == 0.0
    assert found["prompted"]["kl"] != 0.0
    by_policy = {(c.policy, p.id): (p.shown(), c) for p, c in read_completions(folder / "answers.jsonl")}
    for (policy, identity), (shown, completion) in by_policy.items():
        plain, other = by_policy["sft", identity]
        assert shown == plain
        assert (len(completion.prompt_token_ids) > len(other.prompt_token_ids)) == (policy == "prompted")
    with pytest.raises(RecipeError, match="a preamble of 'ppo'"):
        stage("evaluate", {**settings, "preambles": {"ppo": "x"}}, tmp_path / "other")
