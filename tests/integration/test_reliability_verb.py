"""``assent comparisons --reliability``: what is known of annotators is written beside what they said."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from assent.cli import main
from assent.data.readers import read_comparisons

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
    data = tmp_path / "rankings.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows or rankings()), encoding="utf-8")
    return main(["comparisons", "--data", str(data), "--held-out", "0", *words, "--out", str(tmp_path / "out")])


def test_confidence_is_the_annotators_reliability_and_is_among_the_figures(tmp_path: Path):
    assert stage(tmp_path, "--reliability") == 0
    confidence: dict[str, set[float]] = {}
    for comparison in read_comparisons(tmp_path / "out" / "train.jsonl"):
        confidence.setdefault(comparison.annotator, set()).add(comparison.confidence)
    assert {name: len(values) for name, values in confidence.items()} == dict.fromkeys([*RIGHT, "dan"], 1)
    assert confidence["dan"] == {1.0}  # nothing is known of him
    figures = json.loads((tmp_path / "out" / "manifest.json").read_text())["metrics"]
    for name, rate in RIGHT.items():
        found = figures[f"reliability/{name}"]
        assert confidence[name] == {found}
        assert found == pytest.approx(rate, abs=0.08)
        assert figures[f"reliability_low/{name}"] < found < figures[f"reliability_high/{name}"]


def test_without_the_setting_every_comparison_is_sure(tmp_path: Path):
    assert stage(tmp_path) == 0
    assert {c.confidence for c in read_comparisons(tmp_path / "out" / "train.jsonl")} == {1.0}


def test_where_nobody_shares_a_question_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert stage(tmp_path, "--reliability", rows=rankings()[-1:]) == 2
    assert "no two annotators put the same two answers in an order" in capsys.readouterr().err
