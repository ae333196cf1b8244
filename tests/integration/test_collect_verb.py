"""``assent collect`` with simulated annotators: their failings and several criteria, as a recipe asks for them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from assent.cli import main
from assent.data.readers import read_rankings

TRUTH = """
def length(prompt, text):
    return float(len(text))

def shortness(prompt, text):
    return -float(len(text))
"""
RECIPE = """
name: r
stages:
  collect:
    data: answers.jsonl
    truth: truth.py:length
    annotators_per_question: 3
    annotators:
      - {name: ann, noise: 0, tie_width: 0, fail_below: -1000}
      - {name: eve, noise: 0, tie_width: 0, fail_below: -1000, contrariness: 1}
      - {name: sam, noise: 0, spam: 1}
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("truth.py").write_text(TRUTH)
    rows = [{"prompt": f"p{i}", "completion": " " + "x" * (i + 4 * k + 1)} for i in range(6) for k in range(3)]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def collected(more: str = "") -> list[tuple[str, str, tuple[int | None, ...], tuple[int, ...]]]:
    """Annotator, criterion, ranks by length (the longest first), and ranks as shown."""
    Path("r.yaml").write_text(RECIPE + more)
    assert main(["run", "r.yaml"]) == 0
    (path,) = Path("runs/r").glob("**/rankings.jsonl")
    out = []
    for ranking in read_rankings(path):
        by_length = sorted(range(3), key=lambda i: -len(ranking.texts[i]))
        out.append((ranking.annotator, ranking.criterion, tuple(ranking.ranks[i] for i in by_length), ranking.ranks))
    return out


def test_each_annotator_has_failings_of_their_own():
    found = collected()
    assert Counter(name for name, *_ in found) == {f"simulated:{name}": 6 for name in ("ann", "eve", "sam")}
    assert {ranks for name, _, ranks, _ in found if name.endswith("ann")} == {(1, 2, 3)}
    assert {ranks for name, _, ranks, _ in found if name.endswith("eve")} == {(3, 2, 1)}
    assert {shown for name, _, _, shown in found if name.endswith("sam")} == {(1, 2, 3)}


def test_every_criterion_is_a_question_of_its_own_with_its_own_truth():
    found = collected("    criteria: {long: null, short: 'truth.py:shortness'}\n")
    ann = {(criterion, ranks) for name, criterion, ranks, _ in found if name.endswith("ann")}
    assert ann == {("long", (1, 2, 3)), ("short", (3, 2, 1))}
    assert len(found) == 36


def test_noise_on_a_criterion_that_is_not_asked_is_refused(capsys: pytest.CaptureFixture[str]):
    Path("r.yaml").write_text(RECIPE + "      - {name: bo, noise_on: {kind: 2}}\n")
    assert main(["run", "r.yaml"]) == 2
    assert "noise_on names 'kind', which is not asked" in capsys.readouterr().err
