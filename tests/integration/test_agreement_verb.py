"""``assent label agreement``: tables for people, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assent.cli import main
from assent.feedback import Answer, FeedbackStore, Labels, Question, Ranks
from assent.feedback.agreement import agreement
from assent.feedback.people import About
from assent.types import Prompt

DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Ann and bob, of one field, agree; cat, of another, sees half of it the other way.  Ann and bob also label."""
    path = str(tmp_path / "feedback.db")
    with FeedbackStore.open(path) as opened:
        for name, field in (("ann", "law"), ("bob", "law"), ("cat", "art")):
            opened.people.add(name, "annotator", None, About(field=field))
        for i in range(20):
            ids, texts = (f"{i}a", f"{i}b"), ("one", "another")
            opened.add_questions([Question(f"r{i}", Prompt(f"p{i}", text="?"), ids, texts)])
            opened.add_questions([Question(f"l{i}", Prompt(f"p{i}", text="?"), ids, texts, task="label")])
            for name in ("ann", "bob", "cat"):
                ranks = (2, 1) if name == "cat" and i % 2 else (1, 2)
                opened.add_answer(Answer(f"r{i}", name, Ranks(ranks), order=(0, 1), created=i * DAY))
            for name, second in (("ann", 0), ("bob", int(i == 0))):
                opened.add_answer(Answer(f"l{i}", name, Labels((1, second)), order=(0, 1), created=i * DAY))
    return path


def test_json_holds_every_figure(store: str, capsys: pytest.CaptureFixture[str]):
    assert main(["label", "agreement", store, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with FeedbackStore.open(store) as opened:
        expected = agreement(opened.rankings())
    assert found["criteria"]["overall"]["same"]["value"] == pytest.approx(2 / 3)
    assert found["criteria"]["overall"]["alpha"]["value"] == pytest.approx(expected.alpha.value)
    assert (found["rankings"], found["judgements"]) == (60, 80)
    assert found["labels"]["overall"]["units"] == 40
    # 20 pairs 1 1, 19 pairs 0 0, one 0 1: kappa by hand from p = (0.5125, 0.4875)
    chance = (41 / 80) ** 2 + (39 / 80) ** 2
    assert found["labels"]["overall"]["fleiss"]["value"] == pytest.approx((39 / 40 - chance) / (1 - chance))
    assert found["groups"]["field"]["gap"]["value"] == pytest.approx(0.5)
    assert [(two["one"], two["other"]) for two in found["pairs_of_annotators"]] == [
        ("ann", "bob"),
        ("ann", "cat"),
        ("bob", "cat"),
    ]
    assert len(found["over_time"]) == 5
    ann, _, cat = found["annotators"]
    assert ann["reliability"]["competence"]["value"] > cat["reliability"]["competence"]["value"]
    assert ann["bias"]["first_shown"]["value"] == 1.0


def test_people_get_tables(store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["label", "agreement", store]) == 0
    text = capsys.readouterr().out
    for title in ("Agreement on rankings", "Agreement on labels and ratings", "Over time", "By field", "Annotators"):
        assert title in text
    assert "art and law" in text
    assert "0.67 (" in text
    assert "1970-01-04" in text


def test_an_empty_store_and_one_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    FeedbackStore.open(str(tmp_path / "empty.db")).close()
    assert main(["label", "agreement", str(tmp_path / "empty.db")]) == 0
    assert capsys.readouterr().out.strip() == "nobody has answered yet"
    assert main(["label", "agreement", str(tmp_path / "none.db")]) == 2
    assert "there is no such feedback store" in capsys.readouterr().err
