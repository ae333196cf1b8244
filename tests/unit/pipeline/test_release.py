"""The release gate: what limits can be set on, and that only a candidate that passed all of them is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from assent.cli import main
from assent.models.save import save_model
from assent.pipeline.gate import Limits, checked, figures_of
from assent.runs.manifest import read_manifest
from assent.testing.tiny import tiny_causal

EVALUATION: dict[str, Any] = {
    "policies": {
        "model": {"utility": 2.0, "toxicity_rate": 0.02, "perplexity": 30.0, "perplexity_ratio": 1.5, "words": 12.0},
        "against": {"utility": 1.5, "toxicity_rate": 0.0, "perplexity": 20.0, "words": 10.0},
    },
    "win_rates": [
        {"policy": "model", "against": "against", "rate": 0.6, "low": 0.55, "high": 0.65, "length_controlled": 0.58}
    ],
    "group_bias": [
        {"policy": "model", "score": "reward", "gap": {"value": -0.4}, "clear": True},
        {"policy": "model", "score": "reward", "gap": {"value": 0.1}, "clear": False},
        {"policy": "model", "score": "toxicity", "gap": {"value": 0.05}, "clear": False},
        {"policy": "against", "score": "reward", "gap": {"value": 0.1}, "clear": False},
    ],
}


def test_figures_of_a_candidate_against_the_released_model():
    answers = {"model": ["Yes.", "no"], "against": ["Yes.", "No."]}
    found = figures_of(EVALUATION, answers, r"[A-Z].*\.")
    assert found == pytest.approx(
        {
            "utility": 2.0, "utility_change": 0.5, "utility_ratio": 4 / 3,
            "toxicity_rate": 0.02, "toxicity_rate_change": 0.02,  # nothing is a multiple of none
            "perplexity": 30.0, "perplexity_change": 10.0, "perplexity_ratio": 1.5,
            "words": 12.0, "words_change": 2.0, "words_ratio": 1.2,
            "win_rate": 0.6, "win_rate_low": 0.55, "win_rate_high": 0.65, "length_controlled": 0.58,
            "bias_reward": 0.4, "bias_toxicity": 0.05, "bias_clear": 1.0, "bias_reward_change": 0.3,
            "bias_reward_ratio": 4.0, "bias_clear_change": 1.0,
            "format_share": 0.5, "format_share_change": -0.5, "format_share_ratio": 0.5,
        }
    )  # fmt: skip


def test_limits_hold_at_their_edge_and_what_is_not_measured_fails():
    checks = checked(
        {"a": 1.0, "b": 2.0},
        {
            "task": {"a": Limits(at_least=1.0), "b": Limits(at_least=0.0, at_most=1.9)},
            "safety": {"c": Limits(at_most=9)},
        },
    )
    assert [(c.area, c.figure, c.passed) for c in checks] == [
        ("task", "a", True), ("task", "b", False), ("safety", "c", False)
    ]  # fmt: skip
    assert checks[1].line() == "FAIL  task: b 2, wanted at least 0 and at most 1.9"
    assert checks[2].line() == "FAIL  safety: c not measured, wanted at most 9"


SUITE = """\
name: words
version: 1
data: prompts.jsonl
judge_function: judge.py:letters
max_new_tokens: 12
checks:
  task: {utility: {at_least: 0}}
  safety: {distinct_2: {at_least: 0}}
  bias: {words: {at_least: 0}}
  regression: {win_rate: {at_least: 0, at_most: 1}}
  format: {format_share: {at_least: 0}}
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite that anything passes, two models beside it, and another current folder."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"The film {i}"}) + "\n" for i in range(6)))
    (folder / "judge.py").write_text("def letters(prompt, text):\n    return float(len(text))\n")
    for seed, name in enumerate(("new", "old")):
        save_model(tiny_causal(seed=seed), tmp_path / name, method="test", base="new", settings={})
    monkeypatch.chdir(tmp_path)
    return folder / "suite.yaml"


def released(suite: Path, out: str = "out") -> int:
    return main(["release", "new", "--against", "old", "--suite", str(suite), "--out", out])


def test_a_candidate_that_passes_is_exported_with_its_evidence(suite: Path, tmp_path: Path, capsys):
    (tmp_path / "new" / "metrics.jsonl").write_text("{}\n")
    assert released(suite) == 0
    out = tmp_path / "out"
    assert capsys.readouterr().out.endswith("passed: out/model\n")
    record = json.loads((out / "release.json").read_text())
    assert (record["passed"], record["suite"], record["suite_version"], record["prompts"]) == (True, "words", 1, 6)
    assert len(record["checks"]) == 5
    assert json.loads((out / "model" / "release.json").read_text()) == record
    assert AutoModelForCausalLM.from_pretrained(out / "model").config.vocab_size > 0
    assert not (out / "model" / "metrics.jsonl").exists()
    manifest = read_manifest(out)
    assert manifest.metrics["passed"] == 1
    assert {item.name for item in manifest.inputs} == {"model", "against", "data", "judge_function"}


def test_a_candidate_that_fails_one_check_is_not(suite: Path, tmp_path: Path, capsys):
    suite.write_text(SUITE.replace("{win_rate: {at_least: 0, at_most: 1}}", "{win_rate: {at_least: 1.5}}"))
    assert released(suite) == 4
    out = tmp_path / "out"
    assert "refused: the evidence is in out/release.json" in capsys.readouterr().out
    record = json.loads((out / "release.json").read_text())
    assert [check["passed"] for check in record["checks"]] == [True, True, True, False, True]  # all were looked at
    assert not (out / "model").exists()
    assert read_manifest(out).metrics["failed"] == 1


def test_a_version_never_changes(suite: Path, capsys):
    assert released(suite) == 0
    suite.write_text(SUITE.replace("at_most: 1", "at_most: 2"))
    assert released(suite, "again") == 2
    assert "suite.yaml, line 2: version 1 of this suite was used before with other settings" in capsys.readouterr().err
    suite.write_text(SUITE.replace("at_most: 1", "at_most: 2").replace("version: 1", "version: 2"))
    assert released(suite, "again") == 0
    assert json.loads(suite.with_suffix(".lock").read_text()).keys() == {"1", "2"}
    suite.write_text(SUITE)
    with open(suite.parent / "prompts.jsonl", "a") as file:
        file.write('{"prompt": "Another"}\n')
    assert released(suite, "third") == 2  # the same words over other data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("version: 1\n", ""), "suite.yaml: a suite needs 'version'"),
        (("  bias: {words: {at_least: 0}}\n", ""), "no check of bias"),
        (("{utility: {at_least: 0}}", "{utility: {at_lest: 0}}"), "suite.yaml, line 7"),
        (("max_new_tokens", "max_new_token"), "suite.yaml, line 5: unknown setting 'max_new_token'"),
        (("{utility: {at_least: 0}}", "{utility: {}}"), "give at_least, at_most or both"),
        (("name: words", "name: words\nmodel: x"), "line 2: 'model' is not a suite's to say"),
        (("name: words", "name: words\nformat: '('"), "not a regular expression"),
    ],
)
def test_a_suite_that_is_wrong(suite: Path, capsys, change: tuple[str, str], message: str):
    suite.write_text(SUITE.replace(*change))
    assert released(suite) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()
