"""Sample, score, filter, and train on what is left: as a person types it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assent.cli import main
from assent.data.readers import read_comparisons, read_completions
from tests.integration.conftest import write_rows

SAMPLE = "sample --model {w}/policy --data {w}/prompts.jsonl --n 3 --max-new-tokens 5 --out s"


@pytest.fixture
def here(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return workshop


def run(line: str, workshop: Path, status: int = 0) -> None:
    assert main(line.format(w=workshop).split()) == status, line


def manifest(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "manifest.json").read_text())["metrics"]


def test_what_is_sampled_scored_and_filtered_trains_rebel_and_dpo(here: Path, capsys: pytest.CaptureFixture[str]):
    run(SAMPLE + " --mix again={w}/policy --temperature 2.0 --seed 3", here)
    rows = read_completions("s/completions.jsonl")
    assert Counter(completion.policy for _, completion in rows) == {"policy": 48, "again": 48}
    assert [c.prompt_id for _, c in rows[:6]] == [rows[0][1].prompt_id] * 6
    run("score --data s/completions.jsonl --reward {w}/reward --out scored --portion 10", here)
    scored = read_completions("scored/completions.jsonl")
    assert [c.text for _, c in scored] == [c.text for _, c in rows]
    assert manifest("scored")["score_mean"] == pytest.approx(sum(c.metadata["score"] for _, c in scored) / 96)
    run("filter --data scored/completions.jsonl --out f --max-per-prompt 5 --min-margin 0.001", here)
    said = capsys.readouterr().out
    assert "exact_duplicates: " in said
    assert "max_per_prompt: " in said
    report = json.loads(Path("f/filters.json").read_text())
    assert [item["filter"] for item in report][-3:] == ["max_per_prompt", "min_margin", "in_no_pair"]
    pairs = read_comparisons("f/comparisons.jsonl")
    assert manifest("f")["pairs"] == len(pairs) > 8
    assert all(pair.margin >= 0.001 and pair.chosen != pair.rejected for pair in pairs)
    best = {p.prompt.id: p.chosen for p in pairs}
    kept = read_completions("f/completions.jsonl")
    assert len(kept) == 2 * len(pairs)
    assert {c.text for _, c in kept} >= set(best.values())
    train = "--model {w}/policy --max-steps 3 --out "
    run(f"rebel --data f/completions.jsonl --samples-per-prompt 2 --batch-size 4 {train} rebel", here)
    assert manifest("rebel")["loss"] > 0
    run(f"dpo --data f/comparisons.jsonl --batch-size 4 {train} dpo", here)


def test_scores_of_any_file_and_of_its_own_column(here: Path):
    rows = [{"prompt": f"p{i % 2}", "completion": "w " * (i + 1), "score": i} for i in range(6)]
    write_rows(Path("own.jsonl"), rows)
    run("filter --data own.jsonl --pairs all --out f", here)
    assert sorted(c.margin for c in read_comparisons("f/comparisons.jsonl")) == [2, 2, 2, 2, 4, 4]
    run("score --data own.jsonl --reward-function {w}/rules.py:words --out s", here)
    assert [c.metadata["score"] for _, c in read_completions("s/completions.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_completion_without_a_score_stops_or_goes_on_as_told(here: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"prompt": "p", "completion": text} for text in ("1", "two", "3")]
    write_rows(Path("d.jsonl"), rows)
    Path("number.py").write_text("def number(prompt, text):\n    return float(text)\n")
    line = "score --data d.jsonl --reward-function number.py:number --out s"
    run(line, here, status=2)
    assert "d.jsonl: completion '" in (said := capsys.readouterr().err)
    assert "has no score: function failed (ValueError: could not convert string to float: 'two'" in said
    assert not Path("s").exists()
    run(f"{line} --on-unscored skip", here)
    assert manifest("s")["unscored"] == 1
    run("filter --data s/completions.jsonl --out f", here)
    assert manifest("f")["removed/unscored"] == 1
    run("filter --data d.jsonl --out g", here, status=2)
    assert "the filters left nothing" in capsys.readouterr().err


def test_a_source_of_reward_stands_where_a_reward_model_does(here: Path):
    run("pattern-reward --pattern [aeiou] --out vowels", here)
    run("function-reward --function {w}/rules.py:words --out words", here)
    short = "--data {w}/prompts.jsonl --max-new-tokens 4"
    run(f"rloo --model {{w}}/policy --reward vowels --batch-size 8 --max-steps 1 {short} --out r", here)
    assert 0 <= manifest("r")["reward_mean"] <= 1
    run(f"evaluate --model r --against {{w}}/policy --judge words --reward vowels {short} --out e", here)
    assert set(json.loads(Path("e/evaluation.json").read_text())["policies"]) == {"model", "against"}


def test_a_function_that_fails_stops_training_or_is_gone_on_without(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("some.py").write_text(
        "def some(prompt, text):\n    if len(text) % 2:\n        return float('nan')\n    return float(len(text))\n"
    )
    line = "grpo --model {w}/policy --reward-function some.py:some --data {w}/prompts.jsonl --max-new-tokens 4"
    line += " --batch-size 16 --max-steps 2 --learning-rate 1e-3 --out r"
    run(line, here, status=2)
    assert "has no score: function gave nan; a reward must be finite; on_unscored: skip" in capsys.readouterr().err
    run(f"{line} --on-unscored skip", here)
    assert manifest("r")["unscored"] > 0
    assert " of 16 completions left out; completion '" in capsys.readouterr().out


def test_people_are_asked_and_the_run_goes_on_with_the_same_rollouts(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from assent.feedback import Answer, FeedbackStore
    from assent.feedback.responses import Best

    run("human-reward --store f.db --ask best --port 8999 --out person", here)
    line = "rejection --model {w}/policy --reward person --data {w}/prompts.jsonl --max-new-tokens 4 --batch-size 8"
    line += " --samples-per-prompt 4 --max-steps 2 --on-unscored skip --out r"
    picked: list[set[str]] = []
    for _ in range(2):
        run(line, here, status=3)
        assert "answer at http://127.0.0.1:8999/ and then run the same" in capsys.readouterr().err
        with FeedbackStore.open("f.db") as store:
            new = [q for q in store.questions() if not any(a.question.id == q.id for a in store.answers())]
            picked.append({q.id for q in new})
            for question in new:
                store.add_answer(Answer(question.id, "ann", Best(0)))
    assert len(picked[0]) == len(picked[1]) == 2
    run(line, here)
    assert manifest("r")["reward_mean"] == pytest.approx(0.25)
