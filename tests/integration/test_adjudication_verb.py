"""``assent comparisons --adjudication``: what several annotators say of one question becomes what is trained on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from assent.cli import main
from assent.data.readers import read_comparisons
from assent.types import Comparison

RIGHT = {"ann": 0.95, "bob": 0.85, "cleo": 0.8, "eve": 0.6}


def rankings() -> list[dict[str, Any]]:
    """Four annotators on two hundred pairs, right as often as :data:`RIGHT` says; a fifth on a question of his own."""
    draw = random.Random(0)
    rows = [
        {
            "prompt": f"Film {i}",
            "completions": [" good", " bad"],
            "ranks": [1, 2] if draw.random() < rate else [2, 1],
            "annotator": name,
        }
        for i in range(200)
        for name, rate in RIGHT.items()
    ]
    alone = {"prompt": "Alone", "completions": [" good", " bad"], "ranks": [1, 2], "annotator": "dan"}
    return [*rows, alone]


def stage(tmp_path: Path, *words: str, rows: list[dict[str, Any]] | None = None) -> int:
    tmp_path.mkdir(exist_ok=True)
    data = tmp_path / "rankings.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows or rankings()), encoding="utf-8")
    return main(["comparisons", "--data", str(data), "--held-out", "0", *words, "--out", str(tmp_path / "out")])


def written(tmp_path: Path) -> list[Comparison]:
    return read_comparisons(tmp_path / "out" / "train.jsonl")


def manifest(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / "manifest.json").read_text())


def test_weights_are_the_competence_of_annotators_and_among_the_figures(tmp_path: Path):
    assert stage(tmp_path, "--adjudication", "weighted") == 0
    weights: dict[str, set[float]] = {}
    for comparison in written(tmp_path):
        weights.setdefault(comparison.annotator, set()).add(comparison.weight)
    assert {name: len(values) for name, values in weights.items()} == dict.fromkeys([*RIGHT, "dan"], 1)
    figures = manifest(tmp_path)["metrics"]
    for name, rate in RIGHT.items():
        competence = figures[f"competence/{name}"]
        assert weights[name] == {competence}
        assert competence == pytest.approx(2 * rate - 1, abs=0.12)
        assert figures[f"competence_low/{name}"] < competence < figures[f"competence_high/{name}"]
        assert figures[f"right/{name}"] == pytest.approx(rate, abs=0.08)
    assert min(weights["eve"]) < min(weights["dan"]) < min(weights["ann"])  # nothing is known of dan


def test_the_model_and_the_majority_make_one_comparison_a_pair_and_keep_where_it_is_from(tmp_path: Path):
    said: dict[str, list[int]] = {}
    for row in rankings():
        said.setdefault(row["prompt"], []).append(3 - 2 * row["ranks"][0])
    for how in ("majority", "model"):
        assert stage(tmp_path / how, "--adjudication", how) == 0
        pairs = {pair.prompt.text: pair for pair in written(tmp_path / how)}
        assert len(pairs) == 201
        assert manifest(tmp_path / how)["settings"]["adjudication"] == how
        for prompt, votes in said.items():
            pair = pairs[prompt]
            assert len(pair.sources) == len(votes)
            assert pair.annotator == ""
            if how == "majority" and sum(votes):
                assert (pair.chosen == " good") == (sum(votes) > 0)
            if how == "majority":
                assert pair.tie == (sum(votes) == 0)
            if how == "model" and abs(sum(votes)) == 4:  # all said the same
                assert (pair.chosen == " good") == (sum(votes) > 0)
                assert pair.confidence > 0.97


def test_every_ranking_speaks_for_itself_unless_told_otherwise(tmp_path: Path):
    assert stage(tmp_path) == 0
    assert {(c.confidence, c.weight) for c in written(tmp_path)} == {(1.0, 1.0)}
    assert len(written(tmp_path)) == len(rankings())


@pytest.mark.parametrize("how", ["weighted", "model"])
def test_where_nobody_shares_a_question_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str):
    assert stage(tmp_path, "--adjudication", how, rows=rankings()[-1:]) == 2
    assert "no two annotators ranked the same two answers" in capsys.readouterr().err


def test_another_word_is_refused_with_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert stage(tmp_path, "--adjudication", "vote") == 2
    assert "weighted" in capsys.readouterr().err
